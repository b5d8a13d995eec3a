"""Batch norm when batches are small: which statistics are trained, which are kept, and where group norm takes over."""

from collections.abc import Mapping
from typing import Any, Literal

from atrous.errors import ConfigError
from atrous.training.freezing import FrozenNorms

__all__ = ["ENOUGH_IMAGES", "Start", "choose_norms"]

ENOUGH_IMAGES = 8
"""Images that batch statistics need: the v3 paper (table 4) has 64.4 with 4, 75.8 with 8, 77.2 % with 16."""

Start = Literal["network", "backbone", "nothing"]
"""What has pretrained weights."""


def choose_norms(
    asked: str, *, network: Mapping[str, Any], start: Start, part: int, can_group: bool, reasons: list[str]
) -> tuple[dict[str, Any], FrozenNorms]:
    """The network's settings with the norm that fits, and whose batch norm keeps its statistics.

    Args:
        asked: the setting `batch_norm`: auto, train, freeze or group.
        network: the settings so far; a `norm` among them is the user's own choice and stays.
        start: what the weights fill.
        part: images that pass the network at once.
        can_group: whether the backbone could have group norm (timm's cannot).
        reasons: gets a sentence for the user, where there is something to tell.

    Raises:
        ConfigError: `freeze` without statistics to keep, `group` beside a head with weights, or anything beside a norm
            that was asked for by name.
    """
    kept = dict(network)
    if "norm" in kept:
        if asked not in ("auto", "train"):
            raise ConfigError(
                f"batch_norm={asked} and network.norm={kept['norm']} are both given; expected one of them. Leave one out."
            )
        return kept, "none"
    few = part < ENOUGH_IMAGES
    why = f"{part} image{'s'[: part > 1]} at once {'are' if part > 1 else 'is'} too few for batch statistics"
    if asked == "train" or (asked == "auto" and not few):
        if few:
            reasons.append(f"batch norm trains its statistics, as asked, although {why} (under {ENOUGH_IMAGES})")
        return kept, "none"
    if asked == "freeze" and start == "nothing":
        raise ConfigError(
            "batch_norm=freeze keeps the statistics of the weights, but --weights none has none; expected pretrained "
            "weights. Give --weights, or --set batch_norm=group."
        )
    because = "as asked" if asked != "auto" else f"{why} (under {ENOUGH_IMAGES})"
    if start == "network" and asked == "group":
        raise ConfigError(
            "batch_norm=group gives a new head group norm, but the weights are of a whole network with batch norm; expected "
            "a backbone's weights. Take batch_norm=freeze."
        )
    if start == "network":
        reasons.append(f"batch norm keeps the statistics of the weights, in backbone and head: {because}")
        return kept, "all"
    if asked == "freeze":
        reasons.append(f"batch norm keeps the statistics of the weights in the backbone: {because}")
        return kept, "backbone"
    if start == "nothing" and can_group:
        reasons.append(
            f"group norm instead of batch norm, in backbone and head: {because}; there are no weights to keep"
        )
        return {**kept, "norm": "group"}, "none"
    if start == "nothing":
        reasons.append(f"group norm in the head: {because}; the backbone has norms of its own")
        return {**kept, "norm": "group-head"}, "none"
    reasons.append(
        f"batch norm keeps the statistics of the weights in the backbone, and the new head has group norm: {because}"
    )
    return {**kept, "norm": "group-head"}, "backbone"

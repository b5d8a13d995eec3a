"""Where a network is cut in two: what is frozen, and gives the same output for the same view, and what is trained."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from atrous.config import Freeze
from atrous.foreign import ForeignDeepLab
from atrous.models.backbone import Features, Partial
from atrous.models.deeplab import DeepLab

__all__ = ["IMAGE", "Cut", "Kept", "cut_for"]

IMAGE = "image"
Kept = Mapping[str, Tensor]
"""What passes the cut, by name, each (N, C, h, w); the image itself where nothing is cut off."""


@dataclass(frozen=True)
class Cut:
    """A place in the network: by `freeze`, or after the backbone's stage `until`; before all of it where both are none.

    `reads` are the features that the trained heads read.
    """

    freeze: Freeze
    until: str | None
    reads: tuple[str, ...]

    @property
    def is_real(self) -> bool:
        """Whether anything is cut off."""
        return self.freeze != "none" or self.until is not None

    @torch.no_grad()
    def frozen(self, network: DeepLab, image: Tensor) -> dict[str, Tensor]:
        """The frozen part's output for `image` (N, bands, H, W); its modules are in eval mode."""
        if self.until is not None:
            partial = network.backbone.features_until(self.until, image)
            taken = {name: getattr(partial, name) for name in ("low_level", "auxiliary") if name in self.reads}
            return {"x": partial.x, **{name: value for name, value in taken.items() if value is not None}}
        if self.freeze == "none":
            return {IMAGE: image}
        features = network.features(image)
        if self.freeze == "all-but-last":
            return {"last": network.classifier.before_logits(features)}  # pyright: ignore[reportCallIssue]
        return {name: getattr(features, name) for name in self.reads}

    def trained(self, network: DeepLab, kept: Kept) -> tuple[Tensor, Tensor | None]:
        """The coarse logits, and the auxiliary head's where it is trained, from what passed the cut."""
        if self.freeze == "all-but-last":
            return network.classifier.logits(kept["last"]), None  # pyright: ignore[reportCallIssue]
        features = self._features(network, kept)
        auxiliary = None
        if network.aux_classifier is not None and "auxiliary" in self.reads:
            auxiliary = network.aux_classifier(features)
        return network.classifier(features), auxiliary

    def _features(self, network: DeepLab, kept: Kept) -> Features:
        if not self.is_real:
            return network.features(kept[IMAGE])
        # Features that no head reads have an empty stand-in; stages after the cut take theirs anew.
        nothing = next(iter(kept.values())).new_empty(0)
        low_level, auxiliary = kept.get("low_level", nothing), kept.get("auxiliary", nothing)
        if self.until is not None:
            return network.backbone.features_after(self.until, Partial(kept["x"], low_level, auxiliary))
        return Features(low_level, auxiliary, kept["high_level"])


def cut_for(network: DeepLab, freeze: Freeze, *, until: str | None = None, auxiliary: bool = False) -> Cut:
    """The cut that belongs to what is frozen.

    A network of another program is not cut: its head needs the image's size beside the features. It trains all the
    same, with its frozen part computed every time.
    """
    if isinstance(network, ForeignDeepLab):
        return Cut("none", None, ("auxiliary",) if auxiliary else ())
    reads: tuple[str, ...] = network.classifier.reads  # pyright: ignore[reportAssignmentType]
    if auxiliary and network.aux_classifier is not None:
        reads = (*reads, "auxiliary")
    return Cut(freeze, until, reads)

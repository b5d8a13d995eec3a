"""The settings of the networks: their names and defaults, and the check that finds a wrong one."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

from atrous.errors import ConfigError
from atrous.models.aspp import default_atrous_rates
from atrous.models.backbone import OUTPUT_STRIDES

__all__ = ["Settings", "complete_settings"]


class Settings(TypedDict, total=False):
    """Keyword arguments of every builder."""

    output_stride: int
    """8, 16 or 32: how much smaller than the image the backbone's last features are."""
    atrous_rates: Sequence[int] | None
    """One 3x3 branch per rate, any number of them; None for the paper's rates at the output stride."""
    aspp_channels: int
    """Width of each ASPP branch (256 in the papers)."""
    separable: bool
    """Depthwise separable 3x3 convolutions in ASPP and decoder (v3+ paper)."""
    image_pooling: bool
    """Whether ASPP has the image pooling branch."""
    dropout: float
    """Share of ASPP's projected channels dropped in training."""
    decoder_channels: int
    """v3+ only: width of the decoder (256 in the paper)."""
    in_channels: int
    """Bands of the image."""
    auxiliary: bool
    """Whether there is an auxiliary head for training."""
    extra_conv: bool
    """v3 only: torchvision's 3x3 convolution before the logits, which the paper lacks."""
    dilate_first_unit: bool
    """MobileNetV3 only: the stage's rate in the first unit too, as torchvision trained it."""


DEFAULTS: dict[str, object] = {
    "output_stride": 16,
    "atrous_rates": None,
    "aspp_channels": 256,
    "separable": False,
    "image_pooling": True,
    "dropout": 0.1,
    "in_channels": 3,
    "auxiliary": False,
}
V3_DEFAULTS: dict[str, object] = {"extra_conv": True}
V3_PLUS_DEFAULTS: dict[str, object] = {"decoder_channels": 256}
MOBILENET_V3_DEFAULTS: dict[str, object] = {"dilate_first_unit": False}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_switch(value: object) -> bool:
    return isinstance(value, bool)


def _is_stride(value: object) -> bool:
    return _is_count(value) and value in OUTPUT_STRIDES


def _is_rates(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and all(map(_is_count, value))


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


COUNT = (_is_count, "a positive whole number")
SWITCH = (_is_switch, "True or False")
CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "num_classes": COUNT,
    "output_stride": (_is_stride, "8, 16 or 32"),
    "atrous_rates": (_is_rates, "a list of positive whole numbers, or None"),
    "aspp_channels": COUNT,
    "separable": SWITCH,
    "image_pooling": SWITCH,
    "dropout": (_is_share, "a number from 0 to below 1"),
    "decoder_channels": COUNT,
    "in_channels": COUNT,
    "auxiliary": SWITCH,
    "extra_conv": SWITCH,
    "dilate_first_unit": SWITCH,
}


def complete_settings(
    version: str, backbone: str, *, num_classes: int, given: Mapping[str, object], published: Mapping[str, object]
) -> dict[str, object]:
    """Return every setting of the network `version`_`backbone`: `given` over `published` over the defaults.

    The result has only JSON's types and tuples, and no None: with it the same network is built again, whatever the
    defaults become.

    Raises:
        ConfigError: a setting that this network does not have, or a value that it cannot have.
    """
    name = f"{version}_{backbone}"
    known = {**DEFAULTS, **(V3_DEFAULTS if version == "deeplabv3" else V3_PLUS_DEFAULTS)}
    if backbone == "mobilenet_v3_large":
        known |= MOBILENET_V3_DEFAULTS
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(
            f"{name} has no setting {', '.join(map(repr, unknown))}. "
            f"Its settings are {', '.join(['num_classes', *sorted(known)])}. Correct the name or leave it out."
        )
    settings = {"num_classes": num_classes, **known, **published, **given}
    for key, value in settings.items():
        is_valid, expected = CHECKS[key]
        if not is_valid(value):
            hint = f"; the default is {known[key]!r}" if key in known else ""
            raise ConfigError(f"{name}: {key} is {value!r}. It must be {expected}{hint}. Change it or leave it out.")
    rates, output_stride = settings["atrous_rates"], settings["output_stride"]
    assert isinstance(output_stride, int)
    if rates is None:
        settings["atrous_rates"] = default_atrous_rates(output_stride)
    else:
        assert isinstance(rates, Sequence)
        settings["atrous_rates"] = tuple(rates)
    return settings

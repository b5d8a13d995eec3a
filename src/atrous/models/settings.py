"""The settings of the networks: their names and defaults, and the check that finds a wrong one."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

from atrous.errors import ConfigError
from atrous.models.aspp import default_atrous_rates
from atrous.models.backbone import OUTPUT_STRIDES
from atrous.models.norms import NORMS, Norm
from atrous.models.resnet import DEPTHS

__all__ = ["Settings", "complete_settings", "settings_at"]


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
    dilate_first_unit: bool | int
    """MobileNetV3 only: the stage's rate in the first unit of dilated stages too, as torchvision trained it.

    A number is the output stride that this was trained at, where it is another than the network's own."""
    multi_grid: Sequence[int]
    """ResNets only: factors of the units' rates in layer4 and the extra blocks, e.g. (1, 2, 4); empty for none."""
    extra_blocks: int
    """ResNets only: how many blocks, 0 to 3, follow layer4 in cascade (blocks 5 to 7 of the v3 paper)."""
    norm: Norm
    """"batch"; "group" (of 16 channels; not for timm's backbones), or "group-head", which leaves the backbone its batch
    norm; or "frozen": batch norm that keeps the statistics it was loaded with, in training too."""


DEFAULTS: dict[str, object] = {
    "output_stride": 16,
    "atrous_rates": None,
    "aspp_channels": 256,
    "separable": False,
    "image_pooling": True,
    "dropout": 0.1,
    "in_channels": 3,
    "auxiliary": False,
    "norm": "batch",
}
V3_DEFAULTS: dict[str, object] = {"extra_conv": True}
V3_PLUS_DEFAULTS: dict[str, object] = {"decoder_channels": 256}
RESNET_DEFAULTS: dict[str, object] = {"multi_grid": (), "extra_blocks": 0}
MOBILENET_V3_DEFAULTS: dict[str, object] = {"dilate_first_unit": False}
EXTRA_BLOCKS = 3  # v3 paper, section 3.2: block 5 to 7


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_switch(value: object) -> bool:
    return isinstance(value, bool)


def _is_stride(value: object) -> bool:
    return _is_count(value) and value in OUTPUT_STRIDES


def _is_first_unit_rule(value: object) -> bool:
    return _is_switch(value) or _is_stride(value)


def _is_counts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and all(map(_is_count, value))


def _is_rates(value: object) -> bool:
    return value is None or _is_counts(value)


def _is_extra_blocks(value: object) -> bool:
    return (value == 0 and not isinstance(value, bool | float)) or (
        _is_count(value) and value in range(EXTRA_BLOCKS + 1)
    )


def _is_norm(value: object) -> bool:
    return isinstance(value, str) and value in NORMS


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
    "dilate_first_unit": (_is_first_unit_rule, "True, False, or the output stride that it was trained at"),
    "multi_grid": (_is_counts, "a list of positive whole numbers, one for each unit of layer4"),
    "extra_blocks": (_is_extra_blocks, f"a whole number from 0 to {EXTRA_BLOCKS}"),
    "norm": (_is_norm, '"batch", "group", "group-head" or "frozen"'),
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
    known = _defaults(version, backbone)
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
    output_stride = settings["output_stride"]
    assert isinstance(output_stride, int)
    if settings["atrous_rates"] is None:
        settings["atrous_rates"] = default_atrous_rates(output_stride)
    for key in ("atrous_rates", "multi_grid"):
        if key in settings:
            values = settings[key]
            assert isinstance(values, Sequence)
            settings[key] = tuple(values)
    _check_multi_grid(name, backbone, settings.get("multi_grid"))
    if settings["norm"] == "group" and backbone.startswith("timm/"):
        raise ConfigError(
            f'{name}: norm is \'group\'. A backbone of timm keeps its own norms; expected "batch" or "frozen". Change it, '
            "or take a backbone with group norm from timm."
        )
    if settings.get("dilate_first_unit") == output_stride:
        settings["dilate_first_unit"] = True
    return settings


def _defaults(version: str, backbone: str) -> dict[str, object]:
    """The settings that `version`_`backbone` has, with their defaults."""
    known = {**DEFAULTS, **(V3_DEFAULTS if version == "deeplabv3" else V3_PLUS_DEFAULTS)}
    if backbone in DEPTHS:
        known |= RESNET_DEFAULTS
    if backbone == "mobilenet_v3_large":
        known |= MOBILENET_V3_DEFAULTS
    return known


def _check_multi_grid(name: str, backbone: str, multi_grid: object) -> None:
    """Raise where there are factors, but not one for each unit."""
    if multi_grid and isinstance(multi_grid, tuple) and len(multi_grid) != DEPTHS[backbone][-1]:
        raise ConfigError(
            f"{name}: multi_grid is {multi_grid!r}. It must be one factor for each of the {DEPTHS[backbone][-1]} units of "
            "layer4, or empty for none. Change it or leave it out."
        )


def settings_at(name: str, settings: Mapping[str, object], output_stride: int) -> dict[str, object]:
    """Return complete `settings` for the same weights at another output stride.

    What reaches a distance in the image keeps it: the rates become rates x trained stride / new stride.

    Raises:
        ConfigError: not an output stride, or rates that would not be whole numbers.
    """
    is_valid, expected = CHECKS["output_stride"]
    if not is_valid(output_stride):
        raise ConfigError(f"{name}: output_stride is {output_stride!r}. It must be {expected}. Choose one of these.")
    trained, rates = settings["output_stride"], settings["atrous_rates"]
    assert isinstance(trained, int)
    assert isinstance(rates, tuple)
    if any(rate * trained % output_stride for rate in rates):
        scaled = ", ".join(f"{rate * trained / output_stride:g}" for rate in rates)
        raise ConfigError(
            f"{name} has the atrous rates {', '.join(map(str, rates))} at output stride {trained}. At {output_stride} they "
            f"would be {scaled}; expected whole numbers. Choose a smaller output stride."
        )
    changed = dict(settings)
    if settings.get("dilate_first_unit") is True:
        changed["dilate_first_unit"] = trained
    rates = tuple(rate * trained // output_stride for rate in rates)
    return {**changed, "output_stride": output_stride, "atrous_rates": rates}

"""Backbones of timm (pytorch-image-models), an optional package: any that gives maps at stride 4 and the output stride."""

import importlib
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from atrous.errors import ConfigError, MissingExtraError
from atrous.models.backbone import Backbone, Features, Partial

__all__ = ["PREFIX", "TimmBackbone", "timm_backbone"]

PREFIX = "timm/"
LOW_LEVEL_STRIDE = 4


class TimmBackbone(Backbone):
    """`body`, a timm network with features only, behind our three feature maps.

    `low_level` and `auxiliary` are positions in its list of maps; the last map is the high-level one.
    """

    def __init__(self, body: Any, *, low_level: int, auxiliary: int, output_stride: int) -> None:
        super().__init__()
        self.body = body
        self.low_level_position, self.auxiliary_position = low_level, auxiliary
        self.output_stride = output_stride
        channels = body.feature_info.channels()
        self.low_level_channels, self.auxiliary_channels = channels[low_level], channels[auxiliary]
        self.high_level_channels = channels[-1]

    def stem(self) -> list[nn.Module]:
        """What timm runs up to the low-level features, in the order of its modules."""
        last = self._low_level_module()
        found: dict[str, nn.Module] = {}
        for name, module in self.body.named_modules():
            is_around = not name or last.startswith(f"{name}.")
            if not is_around and name.rpartition(".")[0] not in found:
                found[name] = module
            if name == last:
                break
        return list(found.values())

    def stages(self) -> dict[str, list[nn.Module]]:
        """`stage1` up to timm's first feature map, and so on up to its last."""
        ends = [self._module_of(position) for position in range(len(self.body.feature_info.channels()))]
        stages: dict[str, list[nn.Module]] = {"stage1": []}
        for name, module in self._parts(self.body, "", ends):
            stages[f"stage{len(stages)}"].append(module)
            if name in ends[:-1]:
                stages[f"stage{len(stages) + 1}"] = []
        kept = {id(p) for modules in stages.values() for module in modules for p in module.parameters()}
        if kept != {id(p) for p in self.body.parameters()}:
            raise ConfigError(
                f"{type(self.body).__name__} of timm has parameters outside its stages. Expected stages that hold all of "
                "them. Leave out layer_decay and stages to freeze, or choose another backbone."
            )
        return stages

    def _parts(self, module: nn.Module, name: str, ends: list[str]) -> Iterator[tuple[str, nn.Module]]:
        """The largest modules that lie within one stage, by name."""
        for child_name, child in module.named_children():
            path = f"{name}.{child_name}" if name else child_name
            if any(end.startswith(f"{path}.") for end in ends):
                yield from self._parts(child, path, ends)
            else:
                yield path, child

    def _low_level_module(self) -> str:
        return self._module_of(self.low_level_position)

    def _module_of(self, position: int) -> str:
        """The name of the module that gives a feature map."""
        name = self.body.feature_info.module_name()[position]
        # Where timm lays nested modules side by side, it joins the parts of their names.
        return next(own for own, _ in self.body.named_modules() if own.replace(".", "_") == name.replace(".", "_"))

    def run_stage(self, name: str, partial: Partial) -> Partial:
        """Not possible: what timm does between its modules is its own."""
        raise ConfigError(
            f"{type(self.body).__name__} of timm runs as a whole. Expected a backbone of atrous to freeze up to a stage. "
            "Freeze all of it (--freeze backbone), or choose another backbone."
        )

    def features(self, image: Tensor) -> Features:
        """Return the maps at stride 4, before the last, and the last of `image` (N, bands, H, W)."""
        maps = self.body(image)
        return Features(maps[self.low_level_position], maps[self.auxiliary_position], maps[-1])


def timm_backbone(name: str, *, output_stride: int = 16, in_channels: int = 3) -> TimmBackbone:
    """A backbone of timm: its network `name` (an architecture, e.g. "resnet18"), with random weights.

    Nothing is fetched. timm has the strides become dilations; whether its first units keep the rate of the stage before
    is timm's choice, which for ResNets is ours.

    Raises:
        MissingExtraError: timm is not installed, or cannot be imported.
        ConfigError: no such architecture; it has no maps that DeepLab can use; not at this output stride.
    """
    timm = _import_timm()
    _check_name(timm, name)
    options: dict[str, Any] = {"pretrained": False, "features_only": True, "in_chans": in_channels}
    if output_stride != 32:  # their own; not every network takes the argument
        options["output_stride"] = output_stride
    try:
        body = timm.create_model(name, **options)
    except (TypeError, AssertionError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        advice = "Set output_stride=32, or choose" if output_stride != 32 else "Choose"
        raise ConfigError(
            f"{PREFIX}{name} gives no feature maps at output stride {output_stride} ({reason}). Expected a network with "
            f"maps at stride {LOW_LEVEL_STRIDE} and {output_stride}. {advice} another backbone."
        ) from error
    strides = body.feature_info.reduction()
    layout = str(getattr(body, "output_fmt", "NCHW"))
    if LOW_LEVEL_STRIDE not in strides or strides[-1] != output_stride or not layout.endswith("NCHW"):
        raise ConfigError(
            f"{PREFIX}{name} gives feature maps at strides {', '.join(map(str, strides))}, laid out {layout[-4:]}. Expected "
            f"maps at stride {LOW_LEVEL_STRIDE} and, last, {output_stride}, as NCHW. Choose another backbone."
        )
    temporary = dict(body.named_buffers()).keys() - body.state_dict().keys()
    if temporary:
        raise ConfigError(
            f"{PREFIX}{name} computes with numbers that its weights do not hold ({min(temporary)}), so no model file could "
            "keep it. Expected a network that its weights describe. Choose another backbone."
        )
    low_level = len(strides) - 1 - strides[::-1].index(LOW_LEVEL_STRIDE)
    return TimmBackbone(body, low_level=low_level, auxiliary=len(strides) - 2, output_stride=output_stride)


def _import_timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise _missing(f"timm lacks the package {error.name}") from error
        raise _missing("timm is not installed") from error
    except (ImportError, RuntimeError) as error:  # torchvision beside a torch that it was not built for
        raise _missing(f"timm cannot be imported ({type(error).__name__}: {error})".splitlines()[0]) from error


def _missing(found: str) -> MissingExtraError:
    return MissingExtraError(
        f"{found}, and networks with {PREFIX}NAME need it. Expected timm with a torchvision that fits this torch "
        f'({torch.__version__}). Run: pip install "atrous[timm]" (beside a torch for CPUs only, take torchvision from the '
        "same place as torch); or choose another network."
    )


def _check_name(timm: Any, name: str) -> None:
    """Raise unless `name` is an architecture; names of hubs would be fetched."""
    names = timm.list_models()
    if name not in names:
        close = ", ".join(get_close_matches(name, names, n=3, cutoff=0.5))
        raise ConfigError(
            f"timm {timm.__version__} has no architecture {name!r}. Expected one of timm.list_models()"
            f"{f', e.g. {close}' if close else ''}, without a tag of weights. Correct the name."
        )

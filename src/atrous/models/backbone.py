"""What a backbone gives to a head, and how an output stride becomes strides and dilations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["OUTPUT_STRIDES", "Backbone", "Features", "Partial", "StageRates", "stage_rates"]

OUTPUT_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Features:
    """Feature maps of one batch of images.

    `low_level` has stride 4 (the v3+ decoder's second input), `auxiliary` feeds the training-only head, `high_level`
    has the output stride. Each is (N, C, H, W) float.
    """

    low_level: Tensor
    auxiliary: Tensor
    high_level: Tensor


@dataclass(frozen=True)
class Partial:
    """How far an image has come through a backbone: its newest map `x`, and the features that were taken on the way."""

    x: Tensor
    low_level: Tensor | None = None
    auxiliary: Tensor | None = None


class Backbone(nn.Module):
    """A feature extractor.

    Subclasses set the three channel counts and `output_stride`, and implement `stem`, `stages` and `run_stage`.
    """

    low_level_channels: int
    auxiliary_channels: int
    high_level_channels: int
    output_stride: int

    def stem(self) -> list[nn.Module]:
        """The modules up to the low-level features: most of a step's time and memory, and the most general layers."""
        raise NotImplementedError

    def stages(self) -> dict[str, list[nn.Module]]:
        """The modules of every stage by its name, in the order in which an image passes them; all parameters are in."""
        raise NotImplementedError

    def run_stage(self, name: str, partial: Partial) -> Partial:
        """Take an image through one of `stages`."""
        raise NotImplementedError

    def features(self, image: Tensor) -> Features:
        """Return the feature maps of `image` (N, bands, H, W), normalised float."""
        return self.features_after(None, Partial(image))

    def features_until(self, last: str, image: Tensor) -> Partial:
        """Take `image` through the stages up to `last`, that one included."""
        partial = Partial(image)
        for name in self.stages():
            partial = self.run_stage(name, partial)
            if name == last:
                return partial
        raise ValueError(f"no stage {last!r}; expected one of {', '.join(self.stages())}")

    def features_after(self, last: str | None, partial: Partial) -> Features:
        """Take what `features_until` gave through the stages after `last`; None begins with the first."""
        names = list(self.stages())
        for name in names[0 if last is None else names.index(last) + 1 :]:
            partial = self.run_stage(name, partial)
        assert partial.low_level is not None
        assert partial.auxiliary is not None
        return Features(partial.low_level, partial.auxiliary, partial.x)


@dataclass(frozen=True)
class StageRates:
    """One stage: the stride of its first unit, and the dilations of the first unit and of the others."""

    stride: int
    first_dilation: int
    dilation: int


def stage_rates(
    strides: Sequence[int], *, output_stride: int, entry_stride: int, dilate_first_unit: bool | int = False
) -> list[StageRates]:
    """Turn strides into dilations where the output stride is reached.

    `strides` are the stages' own strides and `entry_stride` that of what comes before them. The first unit of a dilated
    stage keeps the rate of the stage before it: only so are the features those of the strided network, sub-sampled.

    `dilate_first_unit` is for weights that were trained otherwise (torchvision's MobileNetV3): with the stage's rate in
    the first unit of the stages that are dilated at this output stride (True) or at the output stride that it gives. At
    another output stride those units keep their reach in the image.

    Raises ValueError for an output stride that is not 8, 16 or 32.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride is {output_stride}; it must be one of 8, 16, 32")
    trained = output_stride if dilate_first_unit is True else dilate_first_unit or math.inf
    before, rates = entry_stride, []  # `before` and `after`: the strides that the network has without dilation
    for stride in strides:
        after = before * stride
        grid_in, grid_out = min(before, output_stride), min(after, output_stride)
        first = after if after > trained else before
        rates.append(StageRates(grid_out // grid_in, first // grid_in, after // grid_out))
        before = after
    return rates

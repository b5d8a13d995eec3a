"""A network whose logits may be enlarged with the corners of both grids aligned."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from atrous.errors import ConfigError
from atrous.models.backbone import Backbone, Features
from atrous.models.deeplab import DeepLab

__all__ = ["AlignedHead", "ForeignDeepLab", "SizedFeatures"]


@dataclass(frozen=True)
class SizedFeatures(Features):
    """Feature maps with the height and width of the image that they are of."""

    image_size: tuple[int, int]


class AlignedHead(nn.Module):
    """A head whose logits are enlarged to the image's size with the corners of both grids aligned.

    No later resizing with half-pixel centres can make up for another grid, so the logits leave the head at full size.
    That takes more memory than coarse logits: 84 bytes a pixel for 21 classes.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    @property
    def logits(self) -> nn.Module:
        """The last layer."""
        logits = self.head.logits
        assert isinstance(logits, nn.Module)
        return logits

    def forward(self, features: SizedFeatures) -> Tensor:
        """Return logits (N, K, H, W) at the image's size."""
        return functional.interpolate(
            self.head(features), size=features.image_size, mode="bilinear", align_corners=True
        )


class ForeignDeepLab(DeepLab):
    """A DeepLab of another program. `coarse_logits` has the image's own size where `align_corners` is True.

    `switchable` tells whether the output stride can be changed with the same weights: not where the first unit of a
    dilated stage has the stage's rate, for then the units reach differently far at every output stride.
    `builder` builds the network again from its settings.
    """

    def __init__(self, backbone: Backbone, classifier: nn.Module, *, align_corners: bool, switchable: bool) -> None:
        super().__init__(backbone, AlignedHead(classifier) if align_corners else classifier)
        self.align_corners = align_corners
        self.switchable = switchable
        self.builder: Callable[..., DeepLab] | None = None

    def rebuilt(self, **settings: object) -> DeepLab:
        """Return a network of the same name with some settings changed, and with new weights."""
        assert self.builder is not None, "only `atrous.foreign.build` makes these"
        return self.builder(**{**self.settings, **settings})

    def with_output_stride(self, output_stride: int) -> DeepLab:
        """Return a network with a copy of these weights that works at another output stride.

        Raises:
            ConfigError: as in `DeepLab`; a program whose weights only fit the output stride that they were trained at.
        """
        if not self.switchable and output_stride != self.settings["output_stride"]:
            raise ConfigError(
                f"{self.name} works at output stride {self.settings['output_stride']}, and {output_stride} was asked for. "
                "Expected the one that it was trained at: its first units have rates of their own at each. Import the "
                "file again with --output-stride if it was trained at the other."
            )
        return super().with_output_stride(output_stride)

    def features(self, image: Tensor) -> SizedFeatures:
        """Return the backbone's feature maps of `image` (N, bands, H, W), and its size."""
        maps = self.backbone.features(image)
        size = (image.shape[-2], image.shape[-1])
        return SizedFeatures(maps.low_level, maps.auxiliary, maps.high_level, image_size=size)

"""Classes: their names, their colours, and the value that means "not labelled"."""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["CAMVID", "VOC", "Colour", "Labels", "voc_palette"]

Colour = tuple[int, int, int]

VOID_COLOUR: Colour = (224, 224, 192)  # VOC draws its borders so


def voc_palette(count: int = 256) -> tuple[Colour, ...]:
    """The first `count` colours of PASCAL VOC's palette: the bits of the index, spread over red, green and blue."""
    colours: list[Colour] = []
    for index in range(count):
        channels = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        colours.append((channels[0], channels[1], channels[2]))
    return tuple(colours)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The classes of a data set or model.

    `names[k]` and `palette[k]` belong to class k. `ignore_index` marks pixels that are no class (void): they enter no loss,
    no metric and no statistic. An empty palette becomes VOC's.
    """

    names: tuple[str, ...]
    palette: tuple[Colour, ...] = field(default=())
    ignore_index: int = 255

    def __post_init__(self) -> None:
        if not self.palette:
            object.__setattr__(self, "palette", voc_palette(max(256, len(self.names)))[: len(self.names)])
        if len(self.palette) != len(self.names):
            raise ValueError(f"{len(self.palette)} colours for {len(self.names)} classes; each class needs one")
        if 0 <= self.ignore_index < len(self.names):
            raise ValueError(f"ignore_index {self.ignore_index} is also the class {self.names[self.ignore_index]!r}")

    @property
    def num_classes(self) -> int:
        """How many classes there are, void not counted."""
        return len(self.names)

    @classmethod
    def numbered(cls, count: int) -> "Labels":
        """Classes without names: class_0, class_1, ..."""
        return cls(names=tuple(f"class_{index}" for index in range(count)), ignore_index=255 if count <= 255 else 65535)


def _named(names: Sequence[str], palette: Sequence[Colour] = ()) -> Labels:
    return Labels(names=tuple(names), palette=tuple(palette))


VOC = _named(
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor".split()
)

CAMVID = _named(
    "sky building pole road pavement tree sign fence car pedestrian bicyclist".split(),
    [
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ],
)

"""CVAT for images 1.1: the regions of all images in one XML file, to be corrected by hand."""

import re
from collections.abc import Sequence
from typing import BinaryIO
from xml.sax.saxutils import XMLGenerator

from atrous.annotations.run_lengths import run_lengths
from atrous.labels import Labels
from atrous.regions import Outline

__all__ = ["CvatFile"]

# XML 1.0, section 2.2; and carriage returns, which come back as line feeds (section 2.11).
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class CvatFile:
    """Writes images one by one.

    Regions without holes are polygons; CVAT's polygons have no holes, so one with holes is a mask, which can be corrected
    with the brush, and which stays exact where polygons are simplified. CVAT finds an image by its name in the task.
    Signs that XML cannot hold become the replacement character.
    """

    NAME = "annotations.xml"

    def __init__(self, stream: BinaryIO, labels: Labels) -> None:
        self._stream = stream
        self._images = 0
        self._xml = XMLGenerator(stream, "utf-8", short_empty_elements=True)  # pyright: ignore[reportArgumentType]
        self._xml.startDocument()
        self._open("annotations")
        self._text("version", "1.1")
        self._open("meta")
        self._open("task")
        self._text("name", "atrous")
        self._text("mode", "annotation")
        self._open("labels")
        for name, colour in zip(labels.names, labels.palette, strict=True):
            self._open("label")
            self._text("name", name)
            self._text("color", "#{:02x}{:02x}{:02x}".format(*colour))
            self._close("label")
        for element in ("labels", "task", "meta"):
            self._close(element)

    def add(self, name: str, size: tuple[int, int], outlines: Sequence[Outline]) -> None:
        """Write an image of `size` (height, width) with its regions."""
        self._open("image", id=self._images, name=name, width=size[1], height=size[0])
        self._images += 1
        for outline in outlines:
            label = outline.region.class_name
            if len(outline.rings) == 1:
                points = ";".join(f"{x},{y}" for x, y in outline.rings[0][:-1].tolist())
                self._leaf("polygon", label=label, source="auto", occluded=0, points=points, z_order=0)
                continue
            top, left, bottom, right = outline.region.box
            lengths = run_lengths(outline.exact, outline.region.box, by_column=False)
            self._leaf(
                "mask",
                label=label,
                source="auto",
                occluded=0,
                rle=", ".join(map(str, lengths.tolist())),
                left=left,
                top=top,
                width=right - left,
                height=bottom - top,
                z_order=0,
            )
        self._close("image")

    def finish(self) -> None:
        """Write the end of the file."""
        self._close("annotations")
        self._xml.endDocument()

    def _open(self, element: str, **attributes: object) -> None:
        self._xml.startElement(element, {name: _clean(str(value)) for name, value in attributes.items()})  # pyright: ignore[reportArgumentType]

    def _close(self, element: str) -> None:
        self._xml.endElement(element)
        self._xml.characters("\n")

    def _leaf(self, element: str, **attributes: object) -> None:
        self._open(element, **attributes)
        self._close(element)

    def _text(self, element: str, text: str) -> None:
        self._open(element)
        self._xml.characters(_clean(text))
        self._close(element)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)

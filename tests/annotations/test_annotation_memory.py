"""A file of all images takes next to nothing for each image, however many regions it has."""

import tracemalloc
from io import RawIOBase

import pytest

from atrous.annotations import CocoFile, CvatFile, TagsFile
from atrous.regions import class_table, outlines
from label_maps import LABELS, blobs


class Nowhere(RawIOBase):
    written = 0

    def writable(self):
        return True

    def write(self, content):
        self.written += len(content)
        return len(content)


@pytest.mark.parametrize("kind", [CocoFile, CvatFile, TagsFile])
def test_memory_does_not_grow_with_regions(kind):
    label_map = blobs((40, 60), cell=3)
    found = class_table(label_map, LABELS) if kind is TagsFile else outlines(label_map, LABELS)
    arguments = (found,) if kind is TagsFile else (label_map.shape, found)
    stream = Nowhere()
    file = kind(stream, LABELS)
    file.add("0.jpg", *arguments)
    begun, images = stream.written, 40
    tracemalloc.start()
    try:
        for number in range(images):
            file.add(f"{number}.jpg", *arguments)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 1000 * images
    assert kind is TagsFile or stream.written - begun > 5000 * images

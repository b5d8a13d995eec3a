"""What a label map holds: classes with their areas, connected regions, and polygons that follow the pixel edges."""

from atrous.regions.components import Region, find_regions
from atrous.regions.counting import class_table, class_tags, count_pixels
from atrous.regions.outline import Outline, Transform, outlines, polygons

__all__ = [
    "Outline",
    "Region",
    "Transform",
    "class_table",
    "class_tags",
    "count_pixels",
    "find_regions",
    "outlines",
    "polygons",
]

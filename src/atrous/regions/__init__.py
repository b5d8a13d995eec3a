"""What a label map holds: classes with their areas, connected regions, and polygons that follow the pixel edges."""

from atrous.regions.components import REGION_FIELDS, Region, find_regions
from atrous.regions.counting import TAG_SHARE, class_table, class_tags, count_pixels
from atrous.regions.outline import Outline, Transform, as_features, outlines, polygons
from atrous.regions.simplification import check_tolerance

__all__ = [
    "REGION_FIELDS",
    "TAG_SHARE",
    "Outline",
    "Region",
    "Transform",
    "as_features",
    "check_tolerance",
    "class_table",
    "class_tags",
    "count_pixels",
    "find_regions",
    "outlines",
    "polygons",
]

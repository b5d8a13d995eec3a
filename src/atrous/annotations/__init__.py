"""Files of regions and of what else a prediction holds, in the forms that other programs read."""

from atrous.annotations.coco import CocoFile
from atrous.annotations.cvat import CvatFile
from atrous.annotations.geojson import feature_collection, write_geojson
from atrous.annotations.labelme import write_labelme
from atrous.annotations.score_file import write_scores
from atrous.annotations.tables import TagsFile, write_regions

__all__ = [
    "CocoFile",
    "CvatFile",
    "TagsFile",
    "feature_collection",
    "write_geojson",
    "write_labelme",
    "write_regions",
    "write_scores",
]

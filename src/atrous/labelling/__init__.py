"""From a network's coarse logits to label maps at the image's own size, without the scores at full size."""

from atrous.labelling.bands import averaged, label_map_and_confidence, thresholded
from atrous.labelling.cells import first_read, label_band, label_map, prepare, rows_ready
from atrous.labelling.plain import resized

__all__ = [
    "averaged",
    "first_read",
    "label_band",
    "label_map",
    "label_map_and_confidence",
    "prepare",
    "resized",
    "rows_ready",
    "thresholded",
]

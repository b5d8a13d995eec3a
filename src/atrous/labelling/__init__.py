"""From a network's coarse logits to label maps at the image's own size, without the scores at full size."""

from atrous.labelling.bands import (
    averaged,
    averaged_confidence,
    label_map_and_confidence,
    probability_strips,
    thresholded,
)
from atrous.labelling.cells import first_read, label_band, label_map, prepare, rows_ready
from atrous.labelling.plain import resized

__all__ = [
    "averaged",
    "averaged_confidence",
    "first_read",
    "label_band",
    "label_map",
    "label_map_and_confidence",
    "prepare",
    "probability_strips",
    "resized",
    "rows_ready",
    "thresholded",
]

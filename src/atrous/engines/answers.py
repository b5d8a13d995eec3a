"""From coarse logits to what people ask for, at the image's own size."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous import labelling
from atrous.engines.base import Coarse

__all__ = ["confidence", "label_map", "probabilities", "probability_strips", "resize_logits", "thresholded"]

LabelMap = NDArray[np.uint8 | np.uint16]


def label_map(views: Sequence[Coarse], size: tuple[int, int]) -> LabelMap:
    """The best class of every pixel of an image of `size` (height, width): (H, W) uint8, uint16 above 256 classes.

    Of several views (scales, mirrored ones) the one with the highest mean probability.
    """
    if len(views) == 1 and not views[0].mirrored:
        return labelling.label_map(views[0].logits, size, cover=views[0].cover)
    return labelling.averaged(
        [view.logits for view in views],
        size,
        flipped=[view.mirrored for view in views],
        covers=[view.cover for view in views],
    )


def confidence(views: Sequence[Coarse], size: tuple[int, int]) -> NDArray[np.float32]:
    """The best class's probability, (H, W) float32."""
    if len(views) == 1 and not views[0].mirrored:
        return labelling.label_map_and_confidence(views[0].logits, size, cover=views[0].cover)[1]
    return labelling.averaged_confidence(
        [view.logits for view in views],
        size,
        flipped=[view.mirrored for view in views],
        covers=[view.cover for view in views],
    )


def thresholded(view: Coarse, size: tuple[int, int], thresholds: Sequence[float], *, void: int) -> LabelMap:
    """The most probable class among those whose probability reaches their threshold, `void` where none does: (H, W)."""
    return labelling.thresholded(view.logits, size, thresholds, void=void, cover=view.cover)


@torch.inference_mode()
def probabilities(views: Sequence[Coarse], size: tuple[int, int]) -> NDArray[np.float32]:
    """The mean over the views of the softmax of their resized logits: (K, height, width) float32."""
    total: Tensor | None = None
    for view in views:
        scores = resize_logits(view, size)[0].softmax(dim=0)
        scores = scores.flip(-1) if view.mirrored else scores
        total = scores if total is None else total.add_(scores)
    assert total is not None
    return (total / len(views)).cpu().numpy()


def probability_strips(views: Sequence[Coarse], size: tuple[int, int]) -> Iterator[NDArray[np.float16]]:
    """What `probabilities` gives, some columns at a time from the left: strips (columns, height, K) float16."""
    return labelling.probability_strips(
        [view.logits for view in views],
        size,
        flipped=[view.mirrored for view in views],
        covers=[view.cover for view in views],
    )


@torch.inference_mode()
def resize_logits(coarse: Coarse, size: tuple[int, int]) -> Tensor:
    """Resize logits bilinearly (half-pixel centres) to the image's `size`: (1, K, height, width).

    The plain computation, with every score at full size.
    """
    return labelling.resized(coarse.logits, size, cover=coarse.cover)[None]

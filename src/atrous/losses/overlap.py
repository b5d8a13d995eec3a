"""Losses that judge an image's classes as wholes, by how truth and prediction overlap: Dice and Lovasz.

Both are computed image by image, over the classes that the image's truth holds, and averaged over images: so an image's
part does not depend on which images share its batch, and a class that is not there does not count. Void pixels never
enter. Shape letters: K classes, P valid pixels of one image.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["OverlapLoss", "dice_loss", "lovasz_loss"]

OverlapLoss = Callable[[Tensor, Tensor], Tensor]


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice coefficient, mean over the classes present (Milletari et al. 2016, arXiv 1606.04797).

    Per class 1 - 2 sum(p y) / (sum(p) + sum(y)), with probabilities p and truth y in {0, 1}.

    Args:
        logits: (K, P) float, the valid pixels of one image.
        target: (P,) int64, 0 to K - 1; at least one pixel.
    """
    scores, truth = _present(logits, target)
    overlap = (scores * truth).sum(dim=1)
    return (1 - 2 * overlap / (scores.sum(dim=1) + truth.sum(dim=1))).mean()


def lovasz_loss(logits: Tensor, target: Tensor) -> Tensor:
    """The Lovasz extension of one minus the IoU, mean over the classes present (Berman et al. 2018, arXiv 1705.08790).

    Section 2.2: each class's pixel errors |y - p| in falling order, times the rise of the Jaccard loss as the pixels
    become wrong one after another. Arguments as for `dice_loss`.
    """
    scores, truth = _present(logits, target)
    errors, order = (truth - scores).abs().sort(dim=1, descending=True)
    with torch.no_grad():
        sorted_truth = truth.gather(1, order)
        pixels = sorted_truth.sum(dim=1, keepdim=True)
        missed = sorted_truth.cumsum(dim=1)
        added = (1 - sorted_truth).cumsum(dim=1)
        jaccard = 1 - (pixels - missed) / (pixels + added)
        rise = torch.diff(jaccard, dim=1, prepend=jaccard.new_zeros(len(jaccard), 1))
    return (errors * rise).sum(dim=1).mean()


def _present(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and truth, both (classes present, P) float32."""
    classes = target.unique()
    scores = logits.float().softmax(dim=0)[classes]
    return scores, functional.one_hot(target, len(logits)).T[classes].float()

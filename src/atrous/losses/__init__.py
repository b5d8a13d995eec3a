"""Losses over the valid pixels of a batch: plain, band by band, by overlap, and sums of them."""

from atrous.loss_names import TERMS, parse_sum
from atrous.losses.banded import resized_cross_entropy
from atrous.losses.overlap import dice_loss, lovasz_loss
from atrous.losses.pixels import cross_entropy, cross_entropy_sums, pixel_losses
from atrous.losses.sums import Loss, make_loss

__all__ = [
    "TERMS",
    "Loss",
    "cross_entropy",
    "cross_entropy_sums",
    "dice_loss",
    "lovasz_loss",
    "make_loss",
    "parse_sum",
    "pixel_losses",
    "resized_cross_entropy",
]

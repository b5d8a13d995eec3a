"""Engines run a network; from what they give come labels, probabilities and confidence at the image's own size."""

from atrous.engines.answers import (
    confidence,
    label_map,
    probabilities,
    probability_strips,
    resize_logits,
    thresholded,
)
from atrous.engines.base import Coarse, Engine, choose_device
from atrous.engines.choice import ENGINES, make_engine
from atrous.engines.torch_engines import PlainEngine, TorchEngine, state_of

__all__ = [
    "ENGINES",
    "Coarse",
    "Engine",
    "PlainEngine",
    "TorchEngine",
    "choose_device",
    "confidence",
    "label_map",
    "make_engine",
    "probabilities",
    "probability_strips",
    "resize_logits",
    "state_of",
    "thresholded",
]

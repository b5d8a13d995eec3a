"""A model: a network with its labels and preprocessing; and what it says of an image."""

from atrous.prediction.loading import load
from atrous.prediction.model import Model
from atrous.prediction.result import Prediction

__all__ = ["Model", "Prediction", "load"]

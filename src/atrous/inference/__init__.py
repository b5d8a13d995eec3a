"""A network made ready for inference: the same function in fewer and faster steps."""

from atrous.inference.simplify import simplify
from atrous.inference.specialise import Specialised, specialise

__all__ = ["Specialised", "simplify", "specialise"]

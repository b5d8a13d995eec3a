"""A network made ready for inference: the same function in fewer and faster steps."""

from atrous.inference.simplify import multiply_adds, simplify
from atrous.inference.specialise import Specialised, specialise

__all__ = ["Specialised", "multiply_adds", "simplify", "specialise"]

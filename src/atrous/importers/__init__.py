"""Importers: weights of other programs become model files, one adapter for each program.

`read_foreign` recognises the program by the names of the tensors, builds the network that gives that program's logits,
and fills it. What is not understood to the last tensor is refused.
"""

from atrous.importers.adapter import Adapter, Choices, Imported
from atrous.importers.reading import ADAPTERS, read_foreign

__all__ = ["ADAPTERS", "Adapter", "Choices", "Imported", "read_foreign"]

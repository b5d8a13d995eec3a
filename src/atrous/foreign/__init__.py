"""Networks as other programs build them, for weights that were trained there.

The same tensors mean another function where the padding, a rate or the grid of an enlargement differs, so these are
networks of their own, put together from the parts of `atrous.models`. Their names begin with the program's:
`tensorflow/deeplabv3_mobilenet_v2`, `smp/deeplabv3plus_resnet50`.
"""

from atrous.foreign.builders import FOREIGN_NETWORKS, build
from atrous.foreign.network import ForeignDeepLab

__all__ = ["FOREIGN_NETWORKS", "ForeignDeepLab", "build"]

"""How far are torchvision's three networks from ours at full size? Copied random weights, with and without auxiliary head.

The tests do the same at sizes that keep them fast; this runs every network at every size.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parity"))

from test_torchvision_parity import NAMES, differences, make_like_trained
from torchvision_reference import reference_network

import atrous.models
from machine import describe

SIZES = ((65, 97), (129, 129), (321, 513))


def main() -> None:
    """Measure and print."""
    print(describe())
    for name in NAMES:
        for auxiliary in (False, True):
            torch.manual_seed(0)
            ours = getattr(atrous.models, name)(21, auxiliary=auxiliary)
            make_like_trained(ours)
            theirs = reference_network(name, auxiliary=auxiliary)
            theirs.load_state_dict(ours.state_dict())
            for size in SIZES:
                worst = max(differences(ours, theirs, size))
                print(f"{name}, {'with' if auxiliary else 'without'} auxiliary head, {size[0]}x{size[1]}: {worst:.1e}")


if __name__ == "__main__":
    main()

"""Each network's output for fixed numbers, so that no change of an architecture goes unnoticed.

Weights and image come from a fixed formula, not from torch's random numbers, which may change between versions.
After a wanted change: `ATROUS_ACCEPT_GOLDEN=1 pytest tests/models/test_golden_outputs.py`, and say why in the commit.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from atrous.models import NETWORKS
from fixed_networks import build_fixed, fixed_numbers

GOLDEN = Path(__file__).parents[1] / "golden" / "networks.json"
SIZE = (65, 97)


def summary(logits: Tensor) -> dict[str, object]:
    """Mean, deviation, and the values at nine places of every class."""
    _, _, height, width = logits.shape
    places = logits[0][:, [0, height // 2, height - 1]][:, :, [0, width // 2, width - 1]]
    return {
        "mean": round(logits.mean().item(), 6),
        "std": round(logits.std().item(), 6),
        "values": [round(value, 5) for value in places.flatten().tolist()],
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_on_record(name: str) -> None:
    network = build_fixed(name, num_classes=2).eval()
    with torch.inference_mode():
        actual = summary(network(fixed_numbers((1, 3, *SIZE), 5)))
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("ATROUS_ACCEPT_GOLDEN") == "1":
        GOLDEN.write_text(json.dumps(golden | {name: actual}, indent=1, sort_keys=True) + "\n")
        return
    expected = golden[name]
    hint = "after a wanted change run: ATROUS_ACCEPT_GOLDEN=1 pytest tests/models/test_golden_outputs.py"
    tolerance = 1e-4 * expected["std"]
    for key in ("mean", "std", "values"):
        np.testing.assert_allclose(actual[key], expected[key], atol=tolerance, rtol=1e-4, err_msg=f"{key}: {hint}")
    assert expected["std"] > 0.01

"""Networks without memory have the shapes of real ones, and cost nothing to build."""

import subprocess
import sys

import pytest
import torch

from atrous.models.deeplab import NETWORKS, build
from atrous.models.shapes_only import shapes_only


@pytest.mark.parametrize("name", ["deeplabv3_resnet18", "deeplabv3plus_mobilenet_v2", "deeplabv3plus_xception65"])
def test_shapes_are_the_real_ones(name):
    with shapes_only():
        empty = build(name, num_classes=4)
    real = build(name, num_classes=4).state_dict()
    assert {key: value.shape for key, value in empty.state_dict().items()} == {
        key: value.shape for key, value in real.items()
    }
    assert all(value.is_meta for value in empty.state_dict().values())


def test_what_lies_elsewhere_is_still_filled():
    with shapes_only():
        tensor = torch.zeros(3, device="cpu")
        tensor.fill_(2)
        parameter = torch.nn.Parameter(torch.empty(3)).requires_grad_(False)
    assert tensor.tolist() == [2, 2, 2]
    assert parameter.is_meta
    assert not parameter.requires_grad


def test_the_compiler_of_pytorch_is_not_loaded():
    code = (
        "import sys\n"
        "from atrous.models.deeplab import NETWORKS, build\n"
        "from atrous.models.shapes_only import shapes_only\n"
        "for name in NETWORKS:\n"
        "    with shapes_only():\n"
        "        build(name, num_classes=3)\n"
        "print('torch._dynamo' in sys.modules, 'sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    assert len(NETWORKS) > 10

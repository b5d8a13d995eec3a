"""Maps that are computed a band of rows at a time are the maps that are computed at once."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from agreement import assert_agree
from atrous.inference import bands, simplify, specialise
from atrous.inference.bands import INPUT, Banded, Step
from atrous.inference.convolution import FusedConv2d
from atrous.models import build
from fixed_networks import fill_fixed, fixed_numbers

BACKBONES = ["resnet18", "mobilenet_v3_large"]


@pytest.fixture
def small_caches(monkeypatch):
    """Let bands pay for small maps too."""
    monkeypatch.setattr(bands, "LARGE", 20_000)
    monkeypatch.setattr(bands, "BAND_BYTES", 20_000)
    monkeypatch.setattr(bands, "MOST_TWICE", 2.0)


def banded(module):
    return [layer for layer in module.modules() if isinstance(layer, Banded)]


@pytest.mark.parametrize("name", [f"deeplabv3plus_{backbone}" for backbone in BACKBONES])
def test_networks(small_caches, name):
    with torch.device("meta"):
        network = build(name, num_classes=5, aspp_channels=32)
    fill_fixed(network)
    network.eval()
    module = specialise(simplify(network), fixed_numbers((1, 3, 97, 65), 1), filtered=False).module
    assert banded(module)
    with torch.inference_mode():
        for shape in ((1, 3, 97, 65), (2, 3, 64, 96), (1, 3, 33, 130)):
            image = fixed_numbers(shape, 2)
            assert_agree(module(image), network.coarse_logits(image))
    assert max(count for layer in banded(module) for count in layer._counts.values()) > 2


def test_small_images_are_not_cut():
    with torch.device("meta"):
        network = build("deeplabv3_mobilenet_v3_large", num_classes=5)
    fill_fixed(network)
    assert banded(specialise(simplify(network.eval()), fixed_numbers((1, 3, 97, 65), 1), filtered=False).module) == []


def conv(in_channels, out_channels, size, stride, rate, padding):
    made = nn.Conv2d(in_channels, out_channels, size, stride, padding, rate)
    return FusedConv2d(made.requires_grad_(False), "relu")


GEOMETRY = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.floats(0, 0.5))


@settings(max_examples=60, deadline=None)
@given(
    geometries=st.lists(GEOMETRY, min_size=1, max_size=4),
    pool=st.booleans(),
    residual=st.booleans(),
    size=st.tuples(st.integers(1, 3), st.integers(1, 60), st.integers(1, 30)),
    count=st.integers(1, 12),
    packed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_piece_in_any_number_of_bands(geometries, pool, residual, size, count, packed, seed):
    torch.manual_seed(seed)
    steps, source = [], INPUT
    for window, stride, rate, share in geometries:
        padding = int(share * (window - 1) * rate)
        steps.append(Step(conv(4, 4, window, stride, rate, padding), source))
        source = len(steps) - 1
    if residual:  # a sum of two maps of one size
        steps.append(Step(conv(4, 4, 3, 1, 1, 1), source))
        steps.append(Step(conv(4, 4, 1, 1, 1, 0), len(steps) - 1, source))
    if pool:
        steps.append(Step(nn.MaxPool2d(3, 2, 1), len(steps) - 1))
    x = torch.randn(size[0], 4, *size[1:])
    piece = Banded(steps)
    shapes = piece.shapes((4, *size[1:]))
    if any(side < 1 for shape in shapes for side in shape):
        return
    maps = {INPUT: x}
    for index, step in enumerate(steps):
        others = () if step.other is None else (maps[step.other],)
        maps[index] = step.layer(maps[step.source], *others)
    expected = maps[len(steps) - 1]
    assert [tuple(maps[index].shape[1:]) for index in range(-1, len(steps))] == shapes
    for step in steps:
        if packed and isinstance(step.layer, FusedConv2d):
            step.layer.pack((1, 4, 9, 9))
    height = expected.shape[2]
    with torch.inference_mode():
        result = piece.in_bands(x, min(count, height))
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_every_row_is_in_one_band():
    for height in range(1, 40):
        for count in range(1, height + 1):
            rows = bands._bands(height, count)
            assert rows[0][0] == 0
            assert rows[-1][1] == height
            assert all(before[1] == after[0] for before, after in pairwise(rows))
            assert all(begin < end for begin, end in rows)

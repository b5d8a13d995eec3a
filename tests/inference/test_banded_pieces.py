"""Pieces of a network in bands of rows give what they give whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from atrous.inference import simplify, specialise
from atrous.inference.bands import INPUT, Banded, Step, band
from atrous.inference.convolution import FusedConv2d
from atrous.models.deeplab import build


def convolution(channels: int, out: int, size: int = 1, *, stride: int = 1, rate: int = 1, padding: int | None = None):
    padding = rate * (size // 2) if padding is None else padding
    return FusedConv2d(nn.Conv2d(channels, out, size, stride, padding, rate).requires_grad_(False), "relu")


def windows():
    return st.builds(
        window,
        st.sampled_from([1, 3, 5]),
        st.sampled_from([1, 2, 3]),
        st.sampled_from([1, 2]),
        st.sampled_from([0, 0, 1]),
    )


def window(size: int, stride: int, rate: int, less: int) -> dict[str, int]:
    return {"size": size, "stride": stride, "rate": rate, "padding": max(0, rate * (size // 2) - less)}


def chain(parts: list[dict[str, int]]) -> Banded:
    torch.manual_seed(0)
    steps = [Step(convolution(3, 4, **parts[0]), INPUT)]
    steps += [Step(convolution(4, 4, **part), index) for index, part in enumerate(parts[1:])]
    return Banded(steps)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(windows(), min_size=1, max_size=4), height=st.integers(25, 60), count=st.integers(1, 9))
def test_a_chain_in_bands_is_the_chain(parts, height, count):
    banded = chain(parts)
    x = torch.randn(1, 3, height, 31)
    expected = x
    for step in banded.steps:
        window = step.window(0)
        if expected.shape[-2] + 2 * window[2] < window[0] or expected.shape[-1] + 2 * window[2] < window[0]:
            return  # the map has become smaller than the window
        expected = step.layer(expected)
    torch.testing.assert_close(banded.in_bands(x, min(count, expected.shape[-2])), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("images", [1, 2])
def test_sums_inside_and_of_the_input_are_the_plain_ones(count, images):
    torch.manual_seed(1)
    first, second, third = convolution(4, 4, 3), convolution(4, 4), convolution(4, 4, 3, stride=2)
    last = nn.MaxPool2d(3, stride=2, padding=1)
    own = convolution(4, 4)
    banded = Banded(
        [Step(first, INPUT), Step(second, 0, INPUT), Step(own, 1, 0), Step(third, 2), Step(last, 3)],
    )
    x = torch.randn(images, 4, 33, 21).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    a = first(x)
    b = second(a, x)
    expected = last(third(own(b, a)))
    torch.testing.assert_close(banded.in_bands(x, count), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(x, before)


def test_rows_are_computed_twice_only_where_bands_overlap():
    banded = chain([{"size": 3}, {"size": 3, "stride": 2, "rate": 1}, {"size": 1}])
    heights = [shape[1] for shape in banded.shapes((3, 64, 64))]
    assert heights == [64, 64, 32, 32]
    assert banded.needed((0, 32), heights) == [(0, 64), (0, 64), (0, 32), (0, 32)]
    assert banded.needed((8, 16), heights) == [(13, 33), (14, 32), (8, 16), (8, 16)]


def test_as_many_bands_as_fit_the_cache_but_with_little_twice():
    banded = chain([{"size": 1}, {"size": 3, "stride": 2}])
    assert banded.count(banded.shapes((3, 64, 64))) == 1
    deep, size = chain([{"size": 5, "rate": 8}] * 4), (3, 1024, 4096)
    assert 1 < deep.count(deep.shapes(size)) < banded.count(banded.shapes(size))


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "deeplabv3plus_mobilenet_v2", "deeplabv3_resnet18"])
def test_networks_with_wide_maps_are_cut_and_give_the_same(name):
    torch.manual_seed(0)
    network = build(name, num_classes=5).eval()
    whole, cut = simplify(network), simplify(network)
    band(cut, (2048, 4096), leave=lambda layer: False)
    pieces = [layer for layer in cut.modules() if isinstance(layer, Banded)]
    assert pieces
    image = torch.randn(1, 3, 193, 161)
    with torch.inference_mode():
        expected = whole(image)
        for piece in pieces:
            piece.forward = lambda x, piece=piece: piece.in_bands(x, 5)
        torch.testing.assert_close(cut(image), expected, rtol=1e-4, atol=1e-5)


def test_small_maps_and_layers_to_leave_are_not_cut():
    network = build("deeplabv3_mobilenet_v3_large", num_classes=5).eval()
    for size, leave in (((96, 128), False), ((2048, 4096), True)):
        module = simplify(network)
        band(module, size, leave=lambda layer, leave=leave: leave)
        assert not any(isinstance(layer, Banded) for layer in module.modules())


def test_what_is_specialised_for_large_images_takes_small_ones_and_batches():
    torch.manual_seed(0)
    network = build("deeplabv3_mobilenet_v3_large", num_classes=5).eval()
    module = specialise(simplify(network), torch.zeros(1, 3, 1024, 1536), filtered=False, tidy=lambda: None).module
    with torch.inference_mode():
        for size in ((97, 65), (256, 320)):
            image = torch.randn(2, 3, *size).contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(module(image), network.coarse_logits(image), rtol=1e-4, atol=1e-5)

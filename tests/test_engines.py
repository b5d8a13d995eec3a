"""Coarse logits lie over the image as its input did over the padded one."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from atrous.engines import Coarse, label_map, resize_logits
from atrous.preprocessing import Preprocessing


def resize(logits, size):
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)), pad_to=st.sampled_from([1, 8, 16]), seed=st.integers(0, 99)
)
def test_padded_maps_are_enlarged_and_cut(size, pad_to, seed):
    preprocessing = Preprocessing(pad_to=pad_to)
    height, width = preprocessing.input_size(size)
    points = -(-height // 4), -(-width // 4)
    logits = torch.randn(1, 3, *points, generator=torch.Generator().manual_seed(seed))
    coarse = Coarse(logits, preprocessing.cover(size))
    expected = resize(logits, (height, width))[..., : size[0], : size[1]]
    resized = resize_logits(coarse, size)
    assert resized.shape == (1, 3, *size)
    torch.testing.assert_close(resized, expected, rtol=1e-4, atol=1e-4)
    assert label_map((coarse,), size).shape == size


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    factor=st.floats(0.5, 4),
    pad_to=st.sampled_from([1, 16]),
)
def test_a_ramp_stays_a_ramp_whatever_the_sizes(size, factor, pad_to):
    """Logits that rise along the input's rows rise at the same rate along the image's: no part is stretched."""
    preprocessing = Preprocessing(resize="scale", resize_scale=factor, pad_to=pad_to)
    height, width = preprocessing.input_size(size)
    ramp = torch.arange(height, dtype=torch.float64).float() + 0.5  # a map at stride 1: centres of the input's rows
    coarse = Coarse(ramp[None, None, :, None].expand(1, 1, height, width), preprocessing.cover(size))
    resized = resize_logits(coarse, size)[0, 0, :, 0]
    content = preprocessing.size_for(size)[0]
    expected = (torch.arange(size[0]) + 0.5) * content / size[0]
    torch.testing.assert_close(resized, expected.clamp(0.5, height - 0.5), rtol=1e-4, atol=1e-3)


def test_without_padding_it_is_plain_interpolation():
    logits = torch.randn(1, 4, 9, 7)
    assert torch.equal(resize_logits(Coarse(logits), (70, 51)), resize(logits, (70, 51)))

"""The places and weights are torch's own, to the last bit."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from atrous.labelling.grid import axis
from atrous.labelling.plain import coordinates


def torch_weights(size, new_size, align_corners, memory_format):
    """The matrix (new_size, size) that torch applies: it resizes the unit vectors."""
    units = torch.eye(size).reshape(1, size, size, 1).expand(-1, -1, -1, 3).contiguous(memory_format=memory_format)
    rows = functional.interpolate(units, size=(new_size, 3), mode="bilinear", align_corners=align_corners)
    return rows[0, :, :, 0].T.numpy()


def our_weights(size, new_size, **options):
    low, high, weight = coordinates(size, new_size, **options)
    matrix, places = np.zeros((new_size, size), np.float32), np.arange(new_size)
    np.add.at(matrix, (places, low), np.float32(1) - weight)
    np.add.at(matrix, (places, high), weight)
    return matrix


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="torch multiplies and adds in two roundings here"
)
@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 130),
    new_size=st.integers(1, 300),
    align_corners=st.booleans(),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_weights_are_those_of_torch(size, new_size, align_corners, memory_format):
    expected = torch_weights(size, new_size, align_corners, memory_format)
    np.testing.assert_array_equal(our_weights(size, new_size, align_corners=align_corners), expected)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="torch multiplies and adds in two roundings here"
)
@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 130), factor=st.floats(0.2, 5), align_corners=st.booleans())
def test_weights_of_a_factor_are_those_of_torch(size, factor, align_corners):
    assume(size * factor >= 1)
    units = torch.eye(size).reshape(1, size, size, 1).expand(-1, -1, -1, 3)
    expected = functional.interpolate(
        units, scale_factor=(factor, 1.0), mode="bilinear", align_corners=align_corners, recompute_scale_factor=False
    )[0, :, :, 0].T.numpy()
    for pixels in (len(expected), max(1, len(expected) // 2)):
        ours = our_weights(size, pixels, align_corners=align_corners, factor=factor)
        np.testing.assert_array_equal(ours, expected[:pixels])


@settings(max_examples=100, deadline=None)
@given(size=st.integers(1, 200), new_size=st.integers(1, 3000), align_corners=st.booleans())
def test_segments_hold_the_pixels_that_read_the_same_places(size, new_size, align_corners):
    line = axis(size, new_size, align_corners)
    assert line.start[0] == 0
    assert line.start[-1] == new_size
    lengths = np.diff(line.start)
    assert (lengths > 0).all()
    assert line.longest == lengths.max()
    np.testing.assert_array_equal(np.repeat(line.low[line.start[:-1]], lengths), line.low)
    np.testing.assert_array_equal(np.repeat(line.high[line.start[:-1]], lengths), line.high)
    assert ((line.weight >= 0) & (line.weight <= 1)).all()
    assert (np.diff(line.low) >= 0).all()
    assert line.high.max() < size

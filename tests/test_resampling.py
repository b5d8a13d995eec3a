"""A part of a resized image is that part of the whole resized image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from atrous.preprocessing import Preprocessing
from atrous.resampling import resized_part


@given(
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),  # torch 2.13 is wrong about a single row or column
    new_size=st.tuples(st.integers(2, 60), st.integers(2, 60)),
    data=st.data(),
)
@settings(max_examples=60)
def test_parts_equal_torchs_antialiased_resizing(
    size: tuple[int, int], new_size: tuple[int, int], data: st.DataObject
) -> None:
    image = np.random.default_rng(size[0] * 100 + size[1]).random((*size, 2)).astype(np.float32)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    whole = functional.interpolate(tensor, size=new_size, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    top, left = data.draw(st.integers(0, new_size[0] - 1)), data.draw(st.integers(0, new_size[1] - 1))
    rows = slice(top, data.draw(st.integers(top + 1, new_size[0])))
    columns = slice(left, data.draw(st.integers(left + 1, new_size[1])))
    part = resized_part(lambda down, across: image[down, across], size, new_size, rows, columns)
    np.testing.assert_allclose(part, whole[rows, columns], atol=2e-6)


@pytest.mark.parametrize("factor", [0.6, 1.44])
def test_whole_numbers_differ_from_the_models_own_resizing_by_one_at_most(factor: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    rule = Preprocessing(resize="scale", resize_scale=factor)
    new_size = rule.size_for((50, 70))
    part = resized_part(
        lambda down, across: image[down, across], (50, 70), new_size, slice(5, 25), slice(0, new_size[1])
    )
    assert part.dtype == np.uint8
    assert np.abs(part.astype(int) - rule.resized(image)[5:25].astype(int)).max() <= 1

"""Blended windows: exact where a network sees only near, and in one piece where the image fits a window."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atrous.preprocessing import Preprocessing
from atrous.tiling import Blended


def near(image: NDArray[np.float32]) -> Tensor:
    """A network that sees one position: means over 8x8 pixels, and their negatives."""
    mean = nn.functional.avg_pool2d(torch.from_numpy(image[None]).permute(0, 3, 1, 2), 8)
    return torch.cat([mean, -mean], dim=1)


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (129, 511), (70, 900)])
def test_a_network_that_sees_near_is_computed_exactly(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    rule = Preprocessing()
    blended = Blended(near, rule, size=size, read=lambda rows, columns: image[rows, columns], window=128, overlap=64)
    parts = list(blended.rows())
    assert [top for top, _ in parts] == sorted({top for top, _ in parts})
    found = torch.cat([part for _, part in parts], dim=2)
    assert tuple(found.shape[2:]) == blended.coarse_size
    height, width = size[0] // 8, size[1] // 8
    expected = near(rule.normalise(image))
    torch.testing.assert_close(found[:, :, :height, :width], expected, atol=1e-5, rtol=0)
    middle = next(number for number, (top, _) in enumerate(parts) if number == len(parts) // 2)
    again = list(blended.rows(parts[middle][0]))
    assert again[0][0] <= parts[middle][0]
    rest = torch.cat([part for _, part in again], dim=2)
    torch.testing.assert_close(rest, found[:, :, again[0][0] :], atol=1e-5, rtol=0)


def test_sizes_that_are_no_whole_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 64"):
        Blended(near, Preprocessing(), size=(9, 9), read=lambda rows, columns: np.zeros((9, 9, 3)), window=100)

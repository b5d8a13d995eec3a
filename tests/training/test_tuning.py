"""Biases that give the best mIoU, against plain trial."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.metrics import ConfusionMatrix
from atrous.training.tuning import GRID, _miou_along, best_shift, some_samples


def miou(logits, truth):
    matrix = ConfusionMatrix(len(logits))
    matrix.update(logits.argmax(dim=0)[None].numpy(), truth[None].numpy())
    present = np.unique(truth.numpy())
    return float(np.mean([matrix.scores().iou[index] for index in present]))


def case(seed, classes, pixels):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (pixels,), generator=generator)
    logits = torch.randn(classes, pixels, generator=generator)
    logits[truth, torch.arange(pixels)] += 1
    return logits, truth


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 6), index=st.integers(0, 5))
def test_counting_gives_what_trying_gives(seed, classes, index):
    logits, truth = case(seed, classes, 200)
    index %= classes
    scores = _miou_along(logits, truth, index)
    for at in (0, 20, 39, 40, 41, 60, 80):
        moved = logits.clone()
        moved[index] += GRID[at]
        assert scores[at] == pytest.approx(miou(moved, truth), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 6))
def test_a_shift_never_lowers_the_score_and_stays_within_bounds(seed, classes):
    logits, truth = case(seed, classes, 300)
    shift = best_shift(logits, truth)
    assert np.abs(shift).max() <= 2 + 1e-9
    assert miou(logits + torch.from_numpy(shift)[:, None], truth) >= miou(logits, truth) - 1e-9


def test_a_class_drawn_too_seldom_is_found_again():
    logits, truth = case(0, 4, 2000)
    tilted = logits - torch.tensor([0.0, 0.0, 0.0, 1.5])[:, None]
    shift = best_shift(tilted, truth)
    assert shift[3] - shift[:3].mean() > 0.8
    moved = tilted + torch.from_numpy(shift)[:, None]
    assert miou(moved, truth) > miou(logits, truth) - 0.01 > miou(tilted, truth) + 0.05


def test_nothing_to_gain_changes_nothing():
    truth = torch.arange(4).repeat(10)
    perfect = torch.nn.functional.one_hot(truth, 5).T.float() * 9
    assert (best_shift(perfect, truth) == 0).all()
    assert (best_shift(torch.zeros(3, 0), torch.zeros(0, dtype=torch.long)) == 0).all()


def test_samples_are_spread_evenly():
    assert some_samples(range(10), most=3) == (0, 3, 6)
    assert some_samples(range(3), most=8) == (0, 1, 2)

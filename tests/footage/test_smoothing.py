"""The mean over frames against its definition."""

import numpy as np
import pytest
import torch

from atrous.engines import Coarse, label_map
from atrous.errors import ConfigError
from atrous.footage.smoothing import Smoothing


def logits(seed, size=(1, 5, 6, 8)):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


def test_the_mean_is_exponential_with_the_half_life():
    frames = [logits(seed) for seed in range(7)]
    smoothing = Smoothing(2.0)
    for frame in frames:
        (smoothed,) = smoothing.smooth([Coarse(frame)])
    # The first frame stands for all before it.
    weights = [(1 - 0.5**0.5) * 0.5 ** ((6 - number) / 2) if number else 0.5**3 for number in range(7)]
    assert sum(weights) == pytest.approx(1)
    assert weights[6] == pytest.approx(2 * weights[4])
    expected = sum(weight * frame.double().softmax(1) for weight, frame in zip(weights, frames, strict=True))
    torch.testing.assert_close(smoothed.logits.exp().double(), expected, rtol=1e-4, atol=1e-6)


def test_a_first_frame_keeps_its_labels():
    for seed in range(20):
        view = Coarse(logits(seed), (0.9, 0.8))
        (smoothed,) = Smoothing(3.0).smooth([view])
        assert smoothed.cover == view.cover
        plain, again = label_map([view], (43, 61)), label_map([smoothed], (43, 61))
        assert (plain != again).mean() < 0.002  # only where two classes are as good as equal


def test_every_view_has_its_own_mean():
    first, second = logits(0), logits(1, (1, 5, 3, 4))
    smoothing = Smoothing(1.0)
    smoothing.smooth([Coarse(first), Coarse(second, mirrored=True)])
    one, two = smoothing.smooth([Coarse(second.new_zeros(first.shape)), Coarse(second, mirrored=True)])
    torch.testing.assert_close(one.logits.exp(), (first.softmax(1) + 0.2) / 2)
    torch.testing.assert_close(two.logits.exp(), second.softmax(1))
    assert two.mirrored


def test_after_a_restart_and_at_another_size_the_mean_begins_anew():
    smoothing = Smoothing(5.0)
    smoothing.smooth([Coarse(logits(0))])
    smoothing.restart()
    torch.testing.assert_close(smoothing.smooth([Coarse(logits(1))])[0].logits.exp(), logits(1).softmax(1))
    other = logits(2, (1, 5, 7, 8))
    torch.testing.assert_close(smoothing.smooth([Coarse(other)])[0].logits.exp(), other.softmax(1))


def test_a_probability_of_nothing_stays_finite():
    certain = torch.zeros(1, 3, 2, 2)
    certain[:, 0] = 1000
    (smoothed,) = Smoothing(2.0).smooth([Coarse(certain)])
    assert np.isfinite(smoothed.logits.numpy()).all()


@pytest.mark.parametrize("half_life", [0, -1, float("inf"), float("nan")])
def test_a_half_life_that_is_none(half_life):
    with pytest.raises(ConfigError, match="half-life"):
        Smoothing(half_life)

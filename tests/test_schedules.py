"""Schedules have the papers' values, stay between 0 and 1, and end low."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.schedules import SCHEDULES, rate_factor


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(progress=st.floats(-1, 2), warmup=st.sampled_from([0.0, 0.05, 0.5]))
def test_every_schedule_stays_between_zero_and_one(schedule, progress, warmup):
    assert 0 <= rate_factor(schedule, progress, warmup=warmup) <= 1


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
@given(st.floats(0, 1), st.floats(0, 1))
def test_poly_and_cosine_fall(schedule, first, second):
    low, high = sorted((first, second))
    assert rate_factor(schedule, high) <= rate_factor(schedule, low)


def test_values():
    assert rate_factor("poly", 0.5) == pytest.approx(0.5**0.9)
    assert [rate_factor("poly", at) for at in (0, 1)] == [1, 0]
    assert rate_factor("cosine", 0.5) == pytest.approx(0.5)
    assert [rate_factor("constant", at) for at in (0, 0.3, 1)] == [1, 1, 1]
    assert rate_factor("one-cycle", 0) == pytest.approx(1 / 25)
    assert rate_factor("one-cycle", 0.25) == pytest.approx(1)
    assert rate_factor("one-cycle", 1) == pytest.approx(1e-5)


def test_warm_up_rises_linearly():
    assert rate_factor("poly", 0.0, warmup=0.05) == pytest.approx(0.1)
    assert rate_factor("poly", 0.025, warmup=0.05) == pytest.approx(0.55 * 0.975**0.9)
    assert rate_factor("poly", 0.05, warmup=0.05) == rate_factor("poly", 0.05)
    assert rate_factor("constant", 0.025, warmup=0.05) == pytest.approx(0.55)


def test_an_unknown_schedule_lists_the_known():
    with pytest.raises(ValueError, match="expected poly, cosine, one-cycle, constant"):
        rate_factor("step", 0.5)  # pyright: ignore[reportArgumentType]

"""Runs by steps and by the clock, with a clock that the test turns."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from atrous.training.course import ClockCourse, StepCourse, is_due


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_steps_count_evenly():
    clock = Clock()
    course = StepCourse(10, clock=clock)
    assert [course.progress(step) for step in (0, 5, 10, 11)] == [0, 0.5, 1, 1]
    assert course.seconds_left(0) is None
    clock.now += 4
    assert course.seconds_left(2) == 16


def test_the_clock_ends_the_run_with_the_reserve_kept():
    clock = Clock()
    start = clock.now
    clock.now += 5  # start-up counts
    course = ClockCourse(100, start=start, reserve=20, clock=clock)
    step = 0
    while course.progress(step) < 1:
        clock.now += 3
        step += 1
    assert 75 <= clock.now - start <= 80 + 1.5
    clock.now += 20
    assert clock.now - start <= 100 + 1.5


def test_a_run_without_time_ends_at_once():
    clock = Clock()
    assert ClockCourse(1, start=clock.now, reserve=5, clock=clock).progress(0) == 1


@given(st.integers(1, 20), st.integers(1, 300))
def test_what_is_due_happens_as_often_as_asked(times, steps):
    times = min(times, steps)
    marks = [step / steps for step in range(steps + 1)]
    due = sum(is_due(now, before, times) for before, now in pairwise(marks))
    assert due == times

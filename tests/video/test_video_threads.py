"""The threads before and behind a loop: order, bounds, and every way to end."""

import threading

import pytest

from atrous.video import ahead, behind


def alive():
    return {thread.name for thread in threading.enumerate() if thread.name in ("atrous-ahead", "atrous-behind")}


def test_items_come_in_order_and_at_most_a_few_ahead():
    taken, furthest = 0, 0

    def items():
        nonlocal taken
        for number in range(50):
            taken = number + 1
            yield number

    seen = []
    with ahead(items(), depth=3) as given:
        for number in given:
            furthest = max(furthest, taken - number)
            seen.append(number)
    assert seen == list(range(50))
    assert furthest <= 3 + 2  # one in the thread's hand, one in ours
    assert not alive()


def test_a_loop_that_ends_early_ends_its_thread():
    def items():
        number = 0
        while True:
            yield number
            number += 1

    with ahead(items()) as given:
        assert next(given) == 0
    assert not alive()


def test_what_fails_ahead_fails_in_the_loop_after_what_came_before():
    def items():
        yield 1
        raise ZeroDivisionError("ahead")

    seen = []
    with pytest.raises(ZeroDivisionError, match="ahead"), ahead(items()) as given:
        seen.extend(given)
    assert not alive()
    with ahead(items()) as given:
        assert next(given) == 1
    assert not alive()


def test_results_are_used_in_order_and_all_of_them():
    used = []
    with behind(used.append, depth=2) as hand_over:
        for number in range(50):
            hand_over(number)
    assert used == list(range(50))
    assert not alive()


def test_what_fails_behind_fails_in_the_loop():
    def use(number):
        if number == 3:
            raise ZeroDivisionError("behind")

    def loop():
        with behind(use, depth=1) as hand_over:
            for number in range(1000):
                hand_over(number)

    with pytest.raises(ZeroDivisionError, match="behind"):
        loop()
    assert not alive()


def test_a_failure_with_the_last_item_is_not_lost():
    def use(number):
        raise ZeroDivisionError("last")

    with pytest.raises(ZeroDivisionError, match="last"), behind(use) as hand_over:
        hand_over(1)
    assert not alive()


def test_a_loop_that_fails_drops_what_waits():
    gate, used = threading.Event(), []

    def use(number):
        gate.wait()
        used.append(number)

    def loop():
        with behind(use, depth=8) as hand_over:
            for number in range(4):
                hand_over(number)
            threading.Timer(0.01, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert len(used) <= 1
    assert not alive()

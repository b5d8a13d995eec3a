"""Work that is shared between threads is done once, and its errors arrive."""

import threading
from collections import Counter

import pytest

from atrous.labelling import threads


@pytest.fixture
def always_share(monkeypatch):
    monkeypatch.setattr(threads, "WORTH_SHARING_SECONDS", -1)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 100])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_part_is_done_once(always_share, count, number):
    done = Counter()
    lock = threading.Lock()

    def work(first, last):
        assert first < last
        with lock:
            done.update(range(first, last))

    threads.spread(work, count, threads=number)
    assert done == Counter(range(count))


def test_small_work_stays_with_the_caller():
    workers = set()
    threads.spread(lambda first, last: workers.add(threading.get_ident()), 100, threads=3)
    assert workers == {threading.get_ident()}


def test_others_take_part(always_share):
    """The first shared parts wait for each other, so two threads must have them."""
    meeting = threading.Barrier(2, timeout=60)
    waiting = {1, 2}

    def work(first, last):
        if first > 0 and waiting:
            waiting.pop()
            meeting.wait()

    threads.spread(work, 64, threads=2)
    assert not waiting


def test_an_error_of_any_part_arrives(always_share):
    def work(first, last):
        if last == 50:
            raise ArithmeticError("part 49")

    with pytest.raises(ArithmeticError, match="part 49"):
        threads.spread(work, 50, threads=2)


def test_a_pool_without_its_threads_leaves_all_to_the_caller(always_share, monkeypatch):
    """As after a fork: what is handed in there is never begun."""

    class Asleep:
        def submit(self, function):
            from concurrent.futures import Future

            return Future()

    monkeypatch.setattr(threads, "_pool", lambda workers: Asleep())
    done = Counter()
    threads.spread(lambda first, last: done.update(range(first, last)), 40, threads=2)
    assert done == Counter(range(40))

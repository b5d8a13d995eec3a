"""The kernel is loaded when it pays, and everything works without it."""

import sys

import numpy as np
import pytest
from random_logits import assert_best, random_logits

from atrous.labelling import cells, label_map, prepare


@pytest.fixture
def fresh_kernel(monkeypatch):
    kernel = cells._Kernel()
    monkeypatch.setattr(cells, "_kernel", kernel)
    return kernel


def test_one_image_does_not_load_it(fresh_kernel):
    label_map(random_logits(0, 3, (5, 5)), (20, 20))
    assert fresh_kernel.paint_rows is None
    assert fresh_kernel.seconds_without > 0


def test_much_work_loads_it_and_labels_stay(fresh_kernel):
    pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")
    coarse = random_logits(0, 3, (5, 5))
    before = label_map(coarse, (20, 20))
    fresh_kernel.seconds_without = cells.KERNEL_SECONDS + 1
    np.testing.assert_array_equal(label_map(coarse, (20, 20)), before)
    assert fresh_kernel.paint_rows is not None


def test_prepare_loads_it_at_once(fresh_kernel):
    pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")
    assert prepare(3)
    assert fresh_kernel.paint_rows is not None


def test_without_numba_labels_come_from_numpy(fresh_kernel, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "atrous.labelling.kernel", raising=False)
    assert not prepare()
    fresh_kernel.seconds_without = cells.KERNEL_SECONDS + 1
    coarse = random_logits(0, 3, (5, 5))
    assert_best(label_map(coarse, (20, 20)), coarse, (20, 20), align_corners=False)
    assert fresh_kernel.missing


def test_a_cache_that_cannot_be_written_costs_no_labels(fresh_kernel):
    """Numba compiles, fails to write to the disk, and has the function at the next call."""
    calls = []

    def full_disk(scores, rows, columns, everywhere, first, last, out):
        calls.append((first, last))
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        out[:] = 1

    fresh_kernel.paint_rows = full_disk
    assert (label_map(random_logits(0, 3, (5, 5)), (20, 20)) == 1).all()
    assert calls[0] == calls[1]


def test_without_a_folder_for_the_cache_it_compiles(monkeypatch):
    caching = pytest.importorskip("numba.core.caching", reason="Numba (the extra `fast`) is not installed")
    from atrous.labelling.kernel import cached

    def one_more(number):
        return number + 1

    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    assert cached(one_more)(1) == 2

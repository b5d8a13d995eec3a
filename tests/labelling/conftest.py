"""Labels with and without the compiled kernel."""

import pytest

from atrous.labelling import cells


@pytest.fixture
def without_kernel(monkeypatch):
    """NumPy alone, however long it takes."""
    kernel = cells._Kernel()
    kernel.missing = True
    monkeypatch.setattr(cells, "_kernel", kernel)


@pytest.fixture
def with_kernel(monkeypatch):
    """The compiled kernel; skips without Numba."""
    pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")
    kernel = cells._Kernel()
    assert kernel.load()
    monkeypatch.setattr(cells, "_kernel", kernel)

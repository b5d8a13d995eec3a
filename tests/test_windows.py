"""Cores tile the image, margins stay inside it, and everything begins at whole strides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.windows import windows


@given(height=st.integers(1, 300), width=st.integers(1, 300), core=st.integers(1, 12), margin=st.integers(0, 3))
def test_cores_cover_every_pixel_once(height: int, width: int, core: int, margin: int) -> None:
    step = 8
    counted = np.zeros((height, width), int)
    for window in windows((height, width), core=core * step, margin=margin * step, step=step):
        counted[window.rows, window.columns] += 1
        assert max(window.size) <= core * step
        for own, read, length in (
            (window.rows, window.read_rows, height),
            (window.columns, window.read_columns, width),
        ):
            assert own.start % step == 0
            assert read.start == max(0, own.start - margin * step)
            assert read.stop == min(length, own.stop + margin * step)
        assert window.offset == (
            window.rows.start - window.read_rows.start,
            window.columns.start - window.read_columns.start,
        )
    assert (counted == 1).all()


@pytest.mark.parametrize(("core", "margin"), [(0, 0), (12, 0), (16, 4)])
def test_what_is_no_multiple_of_the_step_is_refused(core: int, margin: int) -> None:
    with pytest.raises(ValueError, match="multiples of the step 8"):
        windows((100, 100), core=core, margin=margin, step=8)

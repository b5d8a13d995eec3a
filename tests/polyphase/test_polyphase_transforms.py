"""Every scheme is the filter it stands for, and maps are cut into tiles without gap or overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.polyphase.tiles import pieces, tile_map
from atrous.polyphase.transforms import SCHEMES, amplification, cook_toom


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_a_scheme_filters_a_line(scheme):
    generator = np.random.default_rng(0)
    values, taps = generator.standard_normal(scheme.inputs), generator.standard_normal(3)
    filtered = scheme.output @ ((scheme.taps @ taps) * (scheme.input @ values))
    padded = values if scheme.overlap else np.pad(values, 1)
    assert scheme.inputs == scheme.outputs + 2 * scheme.overlap
    np.testing.assert_allclose(filtered, np.correlate(padded, taps), rtol=0, atol=1e-13)


def test_cook_toom_gives_the_matrices_of_lavin_and_gray():
    # Their equation 7, F(2, 3); the signs and factors of a point's rows may move from one matrix to another.
    output, taps, input = cook_toom([0, 1, -1])
    np.testing.assert_array_equal(output, [[1, 1, 1, 0], [0, 1, -1, 1]])
    np.testing.assert_allclose(taps, [[-1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    np.testing.assert_array_equal(input, [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]])


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_a_schemes_matrices_are_exact_in_float32(scheme):
    for matrix in (scheme.output, scheme.input):
        np.testing.assert_array_equal(matrix, matrix.astype(np.float32))


def test_errors_are_amplified_as_documented():
    amplifications = {name: round(amplification(scheme), 1) for name, scheme in SCHEMES.items()}
    assert amplifications == {"P1": 1.0, "P2": 2.0, "P3": 1.4, "F4": 4.8, "F6": 20.6}


@given(
    length=st.integers(1, 90),
    rate=st.integers(1, 40),
    name=st.sampled_from(list(SCHEMES)),
)
def test_pieces_cover_an_axis_once(length, rate, name):
    scheme = SCHEMES[name]
    if not scheme.fits(-(-length // rate)):
        return
    starts, counts = pieces(length, rate, scheme)
    covered = [
        start + (scheme.overlap + i) * rate for start, count in zip(starts, counts, strict=True) for i in range(count)
    ]
    assert sorted(covered) == list(range(length))
    assert counts.min() >= 1
    assert counts.max() <= scheme.outputs


def test_neighbouring_tiles_need_the_same_products():
    # 65 = 5 lines of 6 and 7 of 5 at rate 12: a line of 5 does without the point at infinity.
    tiling = tile_map(65, 65, 12, "F6", "F6")
    assert len(tiling) == 144
    assert tiling.needed.sum() == (5 * 8 + 7 * 7) ** 2
    kinds = tiling.needed.T
    assert np.any(kinds[1:] != kinds[:-1], axis=1).sum() == 3


def test_a_line_of_one_value_needs_one_product():
    tiling = tile_map(65, 65, 36, "P2", "P2")
    assert tiling.needed.sum() == (29 * 3 + 7) ** 2

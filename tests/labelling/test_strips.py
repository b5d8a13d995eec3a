"""Probabilities some columns at a time, and the confidence of a mean, equal the plain computations at full size."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logits import cases, random_logits

from atrous.labelling import averaged_confidence, bands, plain, probability_strips

HALF = 6e-4  # of a number in 16 bits


def plain_mean(views, size, flipped, align_corners):
    shares = [plain.probabilities(view, size, align_corners=align_corners) for view in views]
    mirrored = [share.flip(2) if mirror else share for share, mirror in zip(shares, flipped, strict=True)]
    return (sum(mirrored) / len(mirrored)).numpy()


@pytest.mark.parametrize("strip_bytes", [1, 300, 1 << 23])
@settings(max_examples=30, deadline=None)
@given(**cases(), mirrored=st.booleans())
def test_strips_make_up_the_probabilities(
    strip_bytes, seed, classes, coarse_size, size, kind, layout, align_corners, mirrored
):
    views = [random_logits(seed + number, classes, coarse_size, kind=kind, layout=layout) for number in range(2)]
    options = {"flipped": [False, mirrored], "align_corners": align_corners}
    expected = plain_mean(views, size, options["flipped"], align_corners)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "STRIP_BYTES", strip_bytes)
        strips = list(probability_strips(views, size, **options))
    assert all(strip.dtype == np.float16 for strip in strips)
    tolerance = 5e-3 if kind == "large" else HALF
    np.testing.assert_allclose(np.concatenate(strips).T, expected, rtol=0, atol=tolerance)
    confidence = averaged_confidence(views, size, **options)
    assert confidence.dtype == np.float32
    np.testing.assert_allclose(confidence, expected.max(axis=0), rtol=0, atol=5e-3 if kind == "large" else 2e-5)


def test_the_probabilities_are_never_all_in_memory():
    coarse = random_logits(0, 40, (30, 30), kind="noise")
    size = (400, 1200)  # 38 MB of probabilities in 16 bits
    tracemalloc.start()
    try:
        for _ in probability_strips([coarse], size):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * bands.STRIP_BYTES + bands.TILE_BYTES


def test_no_view_is_an_error():
    with pytest.raises(ValueError, match="no view"):
        next(probability_strips([], (4, 4)))

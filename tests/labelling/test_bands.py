"""Confidence, thresholds and means of views, made in tiles, equal the plain computations at full size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logits import cases, random_logits

from atrous.labelling import averaged, label_map, label_map_and_confidence, plain, thresholded

CLOSE = 2e-5  # of probabilities
small_tiles = pytest.mark.parametrize("tiles", ["usual", "small"])


@pytest.fixture(autouse=True)
def _numpy(without_kernel):
    """No compiling in the midst of a test of something else."""


@pytest.fixture
def cut(tiles, monkeypatch):
    if tiles == "small":
        monkeypatch.setattr("atrous.labelling.tiles.TILE_ELEMENTS", 600)
        monkeypatch.setattr("atrous.labelling.tiles.TILE_ROWS", 5)


def tolerant(kind):
    """Scores of 10,000 are rounded to a thousandth, and probabilities with them."""
    return 5e-3 if kind == "large" else CLOSE


@settings(max_examples=80, deadline=None)
@given(**cases())
def test_confidence_is_the_plain_one(seed, classes, coarse_size, size, kind, layout, align_corners):
    coarse = random_logits(seed, classes, coarse_size, kind=kind, layout=layout)
    labels, confidence = label_map_and_confidence(coarse, size, align_corners=align_corners)
    _, expected = plain.label_map_and_confidence(coarse, size, align_corners=align_corners)
    assert confidence.dtype == np.float32
    np.testing.assert_allclose(confidence, expected, rtol=0, atol=tolerant(kind))
    np.testing.assert_array_equal(labels, label_map(coarse, size, align_corners=align_corners))


@settings(max_examples=80, deadline=None)
@given(**cases(), highest=st.floats(0, 1))
def test_thresholds_give_the_plain_labels(seed, classes, coarse_size, size, kind, layout, align_corners, highest):
    coarse = random_logits(seed, classes, coarse_size, kind=kind, layout=layout)
    limits = (torch.rand(classes, generator=torch.Generator().manual_seed(seed)) * highest).tolist()
    labels = thresholded(coarse, size, limits, align_corners=align_corners)
    assert labels.dtype == np.uint8
    shares = plain.probabilities(coarse, size, align_corners=align_corners).numpy()
    expected = plain.thresholded(coarse, size, limits, align_corners=align_corners)
    near_limit = (np.abs(shares - np.float32(limits)[:, None, None]) < tolerant(kind)).any(axis=0)
    assert_near_best(labels, expected, shares, unsure=near_limit, tolerance=tolerant(kind))


@settings(max_examples=80, deadline=None)
@given(**cases(), others=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12), st.booleans()), max_size=3))
def test_means_give_the_plain_labels(seed, classes, coarse_size, size, kind, layout, align_corners, others):
    views = [random_logits(seed, classes, coarse_size, kind=kind, layout=layout)]
    views += [random_logits(seed + i, classes, other[:2], kind=kind) for i, other in enumerate(others)]
    flipped = [bool(seed % 2), *(flip for _, _, flip in others)]
    labels = averaged(views, size, flipped=flipped, align_corners=align_corners)
    expected = plain.averaged(views, size, flipped=flipped, align_corners=align_corners)
    total = sum(
        plain.probabilities(view, size, align_corners=align_corners).flip(2 if flip else ()).numpy()
        for view, flip in zip(views, flipped, strict=True)
    )
    assert_near_best(labels, expected, total, tolerance=len(views) * tolerant(kind))


def assert_near_best(labels, expected, shares, *, tolerance, unsure=False):
    """Other labels than expected only where two classes are as probable, or where `unsure`."""
    rows, columns = np.nonzero((labels != expected) & ~np.broadcast_to(unsure, labels.shape))
    given, best = shares[labels[rows, columns], rows, columns], shares[expected[rows, columns], rows, columns]
    np.testing.assert_allclose(given, best, rtol=0, atol=tolerance)


@small_tiles
def test_tiles_meet_without_seams(cut):
    coarse, other = (random_logits(seed, 7, (13, 11), kind="noise") for seed in (1, 2))
    size, limits = (61, 83), [0.3] * 7
    _, confidence = label_map_and_confidence(coarse, size)
    np.testing.assert_allclose(confidence, plain.label_map_and_confidence(coarse, size)[1], rtol=0, atol=CLOSE)
    np.testing.assert_array_equal(thresholded(coarse, size, limits), plain.thresholded(coarse, size, limits))
    flipped = [False, True]
    expected = plain.averaged([coarse, other], size, flipped=flipped)
    np.testing.assert_array_equal(averaged([coarse, other], size, flipped=flipped), expected)


@pytest.mark.parametrize("size", [(3, 5), (3, 90), (90, 5)])
@small_tiles
def test_results_smaller_than_the_coarse_grid(cut, size):
    coarse = random_logits(1, 4, (40, 50), kind="noise")
    _, confidence = label_map_and_confidence(coarse, size)
    np.testing.assert_allclose(confidence, plain.label_map_and_confidence(coarse, size)[1], rtol=0, atol=CLOSE)


def test_the_next_class_stands_in_where_the_best_is_below_its_threshold():
    coarse = torch.tensor([0.5, 0.3, 0.2]).log().reshape(1, 3, 1, 1)
    assert thresholded(coarse, (1, 1), [0.4, 0.4, 0.4])[0, 0] == 0
    assert thresholded(coarse, (1, 1), [0.6, 0.4, 0.1])[0, 0] == 2
    assert thresholded(coarse, (1, 1), [0.6, 0.4, 0.4])[0, 0] == 255
    assert thresholded(coarse, (1, 1), [0.6, 0.4, 0.4], void=1000)[0, 0] == 1000
    assert thresholded(coarse, (1, 1), [0, 0, 0])[0, 0] == 0


def test_one_view_is_the_label_map():
    coarse = random_logits(4, 300, (9, 9))
    np.testing.assert_array_equal(averaged([coarse], (33, 33)), plain.label_map(coarse, (33, 33)))


def test_a_mirrored_view_is_mirrored_back():
    coarse = random_logits(4, 5, (9, 10))
    pair = averaged([coarse, coarse.flip(3)], (33, 40), flipped=[False, True])
    np.testing.assert_array_equal(pair, plain.label_map(coarse, (33, 40)))


def test_an_image_that_fills_a_part_of_the_map():
    coarse, other = (random_logits(seed, 7, (13, 11), kind="noise") for seed in (1, 2))
    size, limits, cover = (61, 83), [0.3] * 7, (0.9, 0.83)
    _, confidence = label_map_and_confidence(coarse, size, cover=cover)
    _, expected = plain.label_map_and_confidence(coarse, size, cover=cover)
    np.testing.assert_allclose(confidence, expected, rtol=0, atol=CLOSE)
    labels = thresholded(coarse, size, limits, cover=cover)
    np.testing.assert_array_equal(labels, plain.thresholded(coarse, size, limits, cover=cover))
    options = {"flipped": [False, True], "covers": [(1.0, 1.0), cover]}
    labels = averaged([coarse, other], size, **options)
    np.testing.assert_array_equal(labels, plain.averaged([coarse, other], size, **options))


def test_what_does_not_fit_is_refused():
    coarse = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match="2 thresholds for 3 classes; expected one for each"):
        thresholded(coarse, (4, 4), [0.5, 0.5])
    with pytest.raises(ValueError, match="void is 2; expected 3 to 65535, as 0 to 2 are classes"):
        thresholded(coarse, (4, 4), [0.5] * 3, void=2)
    with pytest.raises(ValueError, match="no view to average"):
        averaged([], (4, 4))
    with pytest.raises(ValueError, match="views have 3, 4 classes; expected the same number in all"):
        averaged([coarse, torch.zeros(1, 4, 2, 2)], (4, 4))
    with pytest.raises(ValueError, match="1 values of flipped for 2 views"):
        averaged([coarse, coarse], (4, 4), flipped=[True])
    with pytest.raises(ValueError, match="1 values of covers for 2 views"):
        averaged([coarse, coarse], (4, 4), covers=[(1.0, 1.0)])
    with pytest.raises(ValueError, match=r"expected \(1, classes, height, width\)"):
        averaged([coarse, torch.zeros(3, 2, 2)], (4, 4))

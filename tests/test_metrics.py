"""The confusion matrix against a slow, independent reading of VOC's definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atrous.metrics import ConfusionMatrix, scores_from_counts

VOID = 255


def slow_voc(label_maps, masks, num_classes):
    """VOC's devkit in words: for each class, true positives over (true + false positives + false negatives) of the set."""
    ious, accuracies = [], []
    right = labelled = 0
    weighted = 0.0
    for cls in range(num_classes):
        true_positive = false_positive = false_negative = 0
        for label_map, mask in zip(label_maps, masks, strict=True):
            for predicted, truth in zip(label_map.ravel().tolist(), mask.ravel().tolist(), strict=True):
                if truth == VOID:
                    continue
                true_positive += predicted == cls and truth == cls
                false_positive += predicted == cls and truth != cls
                false_negative += predicted != cls and truth == cls
        union = true_positive + false_positive + false_negative
        support = true_positive + false_negative
        ious.append(true_positive / union if union else None)
        accuracies.append(true_positive / support if support else None)
        right += true_positive
        labelled += support
        weighted += support * (true_positive / union if union else 0.0)
    known = [value for value in ious if value is not None]
    seen = [value for value in accuracies if value is not None]
    return {
        "iou": ious,
        "miou": sum(known) / len(known) if known else None,
        "pixel_accuracy": right / labelled if labelled else None,
        "mean_accuracy": sum(seen) / len(seen) if seen else None,
        "frequency_weighted_iou": weighted / labelled if labelled else None,
    }


@st.composite
def image_sets(draw):
    classes = draw(st.integers(1, 20))
    shapes = draw(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4))
    truth_values = st.one_of(st.integers(0, classes - 1), st.just(VOID))
    masks = [draw(hnp.arrays(np.uint8, shape, elements=truth_values)) for shape in shapes]
    label_maps = [draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, classes - 1))) for shape in shapes]
    return classes, label_maps, masks


@settings(max_examples=300, deadline=None)
@given(image_sets())
def test_scores_equal_the_slow_definition(images):
    classes, label_maps, masks = images
    matrix = ConfusionMatrix(classes, ignore_index=VOID)
    for label_map, mask in zip(label_maps, masks, strict=True):
        matrix.update(label_map, mask)
    scores, slow = matrix.scores(), slow_voc(label_maps, masks, classes)
    assert list(scores.iou) == slow["iou"]
    for name in ("miou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou"):
        ours, theirs = getattr(scores, name), slow[name]
        assert (ours is None) == (theirs is None), name
        assert ours is None or math.isclose(ours, theirs, rel_tol=1e-12), name


def test_a_perfect_prediction_scores_one_and_void_is_left_out():
    mask = np.array([[0, 1], [2, VOID]], np.uint8)
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 1], [2, 0]], np.uint8), mask)
    assert matrix.scores().miou == 1.0
    assert int(matrix.counts.sum()) == 3


def test_an_absent_class_is_left_out_of_the_mean_and_listed():
    scores = scores_from_counts(np.array([[3, 0, 0], [1, 4, 0], [0, 0, 0]]))
    assert scores.iou[2] is None
    assert scores.absent_classes == (2,)
    assert scores.miou == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_only_void_gives_no_score_instead_of_nan():
    matrix = ConfusionMatrix(2)
    matrix.update(np.zeros((2, 2), np.uint8), np.full((2, 2), VOID, np.uint8))
    assert matrix.scores().miou is None


def test_update_returns_the_images_own_counts():
    matrix = ConfusionMatrix(2)
    mask = np.array([[0, 1]], np.uint8)
    matrix.update(np.array([[0, 0]], np.uint8), mask)
    own = matrix.update(np.array([[1, 1]], np.uint8), mask)
    assert own.tolist() == [[0, 1], [0, 1]]
    assert matrix.counts.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("label_map", "mask", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), "height"),
        (np.full((1, 1), 7), np.zeros((1, 1), int), "outside 0-1"),
        (np.zeros((1, 1), int), np.full((1, 1), 2), "mask holds 2"),
        (np.zeros((1, 1), int), np.full((1, 1), -1), "outside 0-1"),
    ],
)
def test_what_cannot_be_counted_is_refused(label_map, mask, message):
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(2).update(label_map, mask)

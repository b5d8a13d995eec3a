"""What the page is computed from: numbers as text, curves, the confusion matrix, and the choice of images."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_pages import HISTORY

from atrous.data.samples import Sample
from atrous.evaluation import ImageScore
from atrous.labels import Labels
from atrous.metrics import scores_from_counts
from atrous.report.confusion import class_rows, draw_matrix, top_pairs
from atrous.report.curves import draw_curves, round_ticks
from atrous.report.gallery import choose_images
from atrous.report.numerals import cell_count, cell_percent, decimal, percent, plain

LABELS = Labels(names=("road", "tree", "car"))
COUNTS = np.array([[90, 8, 2], [30, 70, 0], [0, 0, 0]], np.int64)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0 %"),
        (0.6841, "68.4 %"),
        (1.0, "100.0 %"),
        (0.99999, ">99.9 %"),
        (1e-9, "<0.1 %"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, ""),
        (7, "7"),
        (999, "999"),
        (1000, "1.0k"),
        (9960, "10k"),
        (999_499, "999k"),
        (999_501, "1.0M"),
        (10**13, "10T"),
    ],
)
def test_cell_count(number, text):
    assert cell_count(number) == text


@given(st.integers(0, 10**17))
def test_cell_counts_are_short_and_near_their_number(number):
    text = cell_count(number)
    assert len(text) <= 4
    if text:
        digits, letter = re.fullmatch(r"([\d.]+)([kMGTP]?)", text).groups()
        value = float(digits) * 1000 ** ["", *"kMGTP"].index(letter)
        assert abs(value - number) <= 0.051 * number


def test_cell_percent_and_plain_numbers():
    assert [cell_percent(share) for share in (0, 0.0001, 0.004, 0.0994, 0.0996, 1)] == [
        "",
        "0",
        "0.4",
        "9.9",
        "10",
        "100",
    ]
    assert [plain(value) for value in (None, 3, 0.25)] == ["–", "3", "0.25"]
    assert [decimal(value) for value in (None, math.inf, 0.41234)] == ["–", "–", "0.412"]


@given(st.floats(1e-9, 1e9))
def test_ticks_are_round_rise_from_zero_and_reach_the_largest(largest):
    ticks = round_ticks(largest)
    assert ticks[0] == 0
    assert ticks[-1] >= largest * (1 - 1e-9)
    assert ticks[-2] < largest
    assert 2 <= len(ticks) <= 6


def test_curves_hold_every_row_and_mark_the_best():
    losses, miou = draw_curves(HISTORY)
    assert [line.kind for line in losses.lines] == ["train", "val"]
    assert [len(line.dots) for line in losses.lines] == [3, 3]
    assert [dot.best for dot in miou.lines[0].dots] == [False, True, False]
    assert miou.lines[0].dots[1].text == "epoch 1: validation 60.0 % (best)"
    assert "validation from 20.0 % to 50.0 %" in miou.summary
    heights = [dot.y for dot in miou.lines[0].dots]
    assert heights[0] > heights[2] > heights[1]


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "epoch": st.floats(0, 1e4),
                "loss": st.none() | st.floats(0, 1e6) | st.just(math.nan),
                "val_loss": st.none() | st.floats(0, 1e6),
                "val_miou": st.none() | st.floats(0, 1),
            }
        ),
        max_size=8,
    )
)
def test_curves_stay_inside_their_drawing_whatever_the_history(history):
    for chart in draw_curves(history):
        for line in chart.lines:
            for dot in line.dots:
                assert chart.left <= dot.x <= chart.right
                assert chart.top <= dot.y <= chart.bottom
        assert all(chart.left - 0.1 <= tick.at <= chart.right + 0.1 for tick in chart.x_ticks)
        assert all(chart.top - 0.1 <= tick.at <= chart.bottom + 0.1 for tick in chart.y_ticks)


@pytest.mark.parametrize("largest", [0.0, 5e-324, 1e-300, math.nan])
def test_ticks_of_nothing(largest):
    assert round_ticks(largest) == (0.0, 1.0)


def test_a_history_without_validation_has_the_training_loss_alone():
    (chart,) = draw_curves([{"epoch": 1.0, "loss": 0.5, "val_loss": None, "val_miou": None}])
    assert [line.name for line in chart.lines] == ["training"]
    assert draw_curves([]) == ()


def test_matrix_cells_say_what_they_count():
    matrix = draw_matrix(COUNTS, LABELS)
    assert matrix.rows[1][0].words == "truth tree predicted road: 30 pixels (30.0 %)"
    assert matrix.rows[2][2].words == "truth car predicted car: 0 pixels (no such pixels)"
    assert [cell.percent for cell in matrix.rows[0]] == ["90", "8.0", "2.0"]
    assert [[cell.hit for cell in row] for row in matrix.rows] == np.eye(3, dtype=bool).tolist()


@given(st.integers(2, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_a_cut_matrix_keeps_every_pixel(num_classes, most, random):
    counts = np.array([[random.randrange(1000) for _ in range(num_classes)] for _ in range(num_classes)], np.int64)
    matrix = draw_matrix(counts, Labels.numbered(num_classes), most=most)
    shown = [
        int(re.search(r": ([\d,]+) pixels", cell.words)[1].replace(",", "")) for row in matrix.rows for cell in row
    ]
    assert sum(shown) == counts.sum()
    assert matrix.left_out == max(0, num_classes - most)
    assert len(matrix.rows) == min(num_classes, most + 1)


def test_pairs_are_the_largest_confusions_first():
    pairs = top_pairs(COUNTS, LABELS)
    assert [(pair.truth, pair.predicted, pair.pixels) for pair in pairs] == [
        ("tree", "road", 30),
        ("road", "tree", 8),
        ("road", "car", 2),
    ]
    assert pairs[0].share == 0.3
    assert top_pairs(np.diag([3, 4, 5]).astype(np.int64), LABELS) == ()


def test_class_rows_take_their_shares_from_the_counts():
    road, _, car = class_rows(COUNTS, scores_from_counts(COUNTS), LABELS)
    assert (road.pixels, road.share, road.accuracy, road.precision) == (100, 0.5, 0.9, 0.75)
    assert (car.pixels, car.accuracy, car.precision, car.absent) == (0, None, 0.0, False)


def _scores(values):
    return [
        ImageScore(
            sample=Sample(name=str(index), image=Path("a.png"), mask=None, group=str(index)),
            miou=value,
            pixel_accuracy=0.5,
        )
        for index, value in enumerate(values)
    ]


def test_the_gallery_has_the_worst_the_middle_and_the_best():
    groups = choose_images(_scores([index / 20 for index in range(20)]), most=9)
    assert [[image.sample.name for image in chosen] for _, chosen in groups] == [
        ["0", "1", "2"],
        ["8", "9", "10"],
        ["19", "18", "17"],
    ]


@given(st.lists(st.none() | st.floats(0, 1), max_size=25), st.integers(0, 12))
def test_the_gallery_shows_as_many_as_it_may_and_none_twice(values, most):
    groups = choose_images(_scores(values), most=most)
    names = [image.sample.name for _, chosen in groups for image in chosen]
    known = [value for value in values if value is not None]
    assert len(names) == len(set(names))
    assert len(names) == min(most, len(values) if len(values) <= most or not known else len(known))
    shown = [image.miou for _, chosen in groups for image in chosen if image.miou is not None]
    if most and known:
        assert min(shown) == min(known)
    if most >= 3 and known:
        assert max(shown) == max(known)

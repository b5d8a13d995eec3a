"""Pictures of a run, and what TensorBoard gets."""

import numpy as np
import pytest
from PIL import Image

import atrous as library
from atrous.data.layouts import open_dataset
from atrous.evaluation import evaluate_model
from atrous.training import watching
from atrous.training.watching import draw_curves, open_board, show_worst

HISTORY = [
    {"step": 10, "loss": 2.0, "val_loss": 1.9, "val_miou": 0.1, "rate": 1e-3, "gradient_norm": 3.0},
    {"step": 20, "loss": 1.0, "val_loss": 1.2, "val_miou": 0.4, "rate": 5e-4, "gradient_norm": 2.0},
]


@pytest.mark.parametrize("rows", [HISTORY, HISTORY[:1], [{**HISTORY[0], "val_loss": None, "val_miou": None}], []])
def test_curves_are_a_picture(tmp_path, rows):
    draw_curves(tmp_path / "curves.png", rows)
    draw_curves(tmp_path / "curves.png", rows)  # over the one that was there
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1000, 640)
        colours = {tuple(colour) for colour in np.asarray(picture.convert("RGB")).reshape(-1, 3)}
    assert ((0, 114, 178) in colours) == bool(rows)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_the_worst_images_are_shown_with_truth_prediction_and_errors(tmp_path, trained, scenes):
    model, dataset = library.load(trained, device="cpu"), open_dataset(scenes)
    report = evaluate_model(model, dataset, split="val")
    show_worst(tmp_path / "worst", report, model, dataset, most=1)
    assert [path.name for path in (tmp_path / "worst").iterdir()] == ["1.jpg"]
    with Image.open(tmp_path / "worst/1.jpg") as picture:
        assert picture.width > 2 * 96
        assert picture.height > 2 * 64


def test_tensorboard_gets_every_curve(tmp_path):
    event_file = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = open_board(tmp_path)
    for row in HISTORY:
        board.add(row)
    events = event_file.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("validation mIoU")] == [
        (10, pytest.approx(0.1)),
        (20, pytest.approx(0.4)),
    ]
    assert len(events.Tags()["scalars"]) == 5


def test_without_tensorboard_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(watching.importlib.util, "find_spec", lambda name: None)
    open_board(tmp_path / "board").add(HISTORY[0])
    assert not (tmp_path / "board").exists()

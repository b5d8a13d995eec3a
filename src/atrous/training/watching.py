"""What one can look at while a run works: the picture of its curves, the worst images, and TensorBoard."""

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from atrous.data.loader import read_pair
from atrous.data.samples import Dataset
from atrous.errors import DataError
from atrous.evaluation import Report
from atrous.files import make_folder, replacing
from atrous.images import Pixels, write_image
from atrous.overlay import error_map, overlay, side_by_side
from atrous.prediction import Model

__all__ = ["WORST_IMAGES", "Board", "draw_curves", "open_board", "show_worst"]

WORST_IMAGES = 4
CURVES = (("loss", "val_loss"), ("val_miou",), ("rate",), ("gradient_norm",))
NAMES = {
    "loss": "training loss",
    "val_loss": "validation loss",
    "val_miou": "validation mIoU",
    "rate": "learning rate",
    "gradient_norm": "norm of the gradient",
}


class Board(Protocol):
    """Takes the rows of the history as they come."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one validation's row."""
        ...


class _Nowhere:
    def add(self, row: Mapping[str, Any]) -> None:
        pass


class _TensorBoard:
    def __init__(self, folder: Path, first_step: int) -> None:
        self._folder, self._first_step = folder, first_step

    @cached_property
    def _writer(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own dependencies
            from torch.utils.tensorboard import SummaryWriter

            # What a killed process wrote after its last saved state would be drawn twice.
            return SummaryWriter(str(self._folder), purge_step=self._first_step)

    def add(self, row: Mapping[str, Any]) -> None:
        for key, name in NAMES.items():
            if row.get(key) is not None:
                self._writer.add_scalar(name, row[key], row["step"])
        self._writer.flush()


def open_board(folder: Path, *, first_step: int = 0) -> Board:
    """A board that writes TensorBoard's files into `folder`, where the package is installed; else one that does nothing.

    `first_step` is the step that the run goes on from.
    """
    if importlib.util.find_spec("tensorboard") is None:
        return _Nowhere()
    return _TensorBoard(folder, first_step)


def draw_curves(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw the rows of a history as a PNG of four curves over the steps, replacing the picture that was there.

    Raises:
        OutputError: it cannot be written.
    """
    # The object-oriented interface: it needs no display and keeps no figures.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for place, keys in enumerate(CURVES, start=1):
        axes = figure.add_subplot(2, 2, place)
        for key in keys:
            points = [(row["step"], row[key]) for row in history if row.get(key) is not None]
            if points:
                steps, values = zip(*points, strict=True)
                # Blue and orange differ for every kind of colour vision (Okabe and Ito); dots keep single points visible.
                colour = "#E69F00" if key.startswith("val_") else "#0072B2"
                axes.plot(steps, values, marker="o", markersize=3, color=colour, label=NAMES[key])
        axes.set_xlabel("step")
        axes.set_title(", ".join(NAMES[key] for key in keys))
        axes.grid(visible=True, alpha=0.3)
        if len(keys) > 1 and axes.lines:
            axes.legend()
        if "val_miou" not in keys and axes.lines:
            axes.set_ylim(bottom=0)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def show_worst(folder: Path, report: Report, model: Model, dataset: Dataset, *, most: int = WORST_IMAGES) -> None:
    """Write pictures of the `most` images with the lowest mIoU, `1.jpg` the worst, over those that were there.

    Each shows image, truth, prediction and errors side by side. Images without a labelled pixel have no mIoU and are not
    among them.

    Raises:
        OutputError: they cannot be written.
    """
    ranked = sorted((image for image in report.images if image.miou is not None), key=lambda image: image.miou or 0.0)
    make_folder(folder)
    for number, score in enumerate(ranked[:most], start=1):
        try:
            image, mask = read_pair(score.sample, dataset, model.preprocessing)
        except DataError:
            continue  # it was there when it was measured; a picture is no reason to stop a training
        write_image(folder / f"{number}.jpg", _picture(image, mask, model, f"{score.sample.name}: {score.miou:.3f}"))


def _picture(image: Pixels, mask: NDArray[np.integer], model: Model, title: str) -> NDArray[np.uint8]:
    predicted = model.predict(image).label_map
    labels = model.labels
    shown = model.preprocessing.as_picture(image)
    return side_by_side(
        [
            shown,
            overlay(shown, mask, labels, legend=False),
            overlay(shown, predicted, labels, legend=False),
            error_map(predicted, mask, labels, image=shown),
        ],
        [title, "truth", "prediction", "errors"],
        columns=2,
    )

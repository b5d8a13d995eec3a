"""`atrous evaluate`: how good a model is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from atrous.cli import console

if TYPE_CHECKING:
    from atrous.evaluation import Report

__all__ = ["evaluate", "parse_scales", "print_scores"]


def evaluate(
    model: str,
    data: Path,
    /,
    *,
    split: str = "val",
    json: Annotated[bool, Parameter(negative="")] = False,
    fail_under: float | None = None,
    scales: str = "1",
    flip: Annotated[bool, Parameter(negative="")] = False,
    device: str = "auto",
    engine: str = "auto",
    out: Path | None = None,
) -> int:
    """Measure a model: whole images at their own size, one confusion matrix over the set, void left out.

    Parameters
    ----------
    model:
        A run folder or a .safetensors file.
    data:
        A folder of images and masks in any layout that is recognised, a data.yaml, or a public set: voc2012,
        voc2012-aug.
    split:
        train, val or test.
    json:
        Print one JSON object instead of a table.
    fail_under:
        Exit code 1 when the mIoU (0 to 1) is below this.
    scales:
        Sizes at which every image enters, times its own, with commas: 0.5,0.75,1,1.25,1.5,1.75 in the papers. The
        probabilities of all are averaged.
    flip:
        Average with the mirrored image too.
    device:
        auto, cpu, cuda, cuda:N or mps.
    engine:
        auto, torch, plain (the network as it is), onnxruntime or openvino.
    out:
        A folder for metrics.json and report.html.
    """
    from atrous import api
    from atrous.errors import ConfigError

    if fail_under is not None and not 0 <= fail_under <= 1:
        raise ConfigError(f"--fail-under {fail_under:g}: expected an mIoU between 0 and 1.")
    report = api.evaluate(
        model,
        data,
        split=split,
        scales=parse_scales(scales),
        flip=flip,
        device=device,
        engine=engine,
        out=out,
        say=console.note,
        progress=lambda done, total: console.status(f"{done} of {total} images") if console.is_live() else None,
    )
    if json:
        console.print_json(report.as_json())
    else:
        print_scores(report)
    if out is not None:
        console.note(f"page: {out / 'report.html'}")
    if fail_under is not None and (report.miou is None or report.miou < fail_under):
        console.note(f"mIoU {_score(report.miou)} is below --fail-under {fail_under:g}")
        return 1
    return 0


def parse_scales(text: str) -> tuple[float, ...]:
    """Numbers with commas.

    Raises:
        ConfigError: something else, or a factor that is not between 0.1 and 4.
    """
    from atrous.errors import ConfigError

    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0.1 <= scale <= 4 for scale in scales):
        raise ConfigError(
            f"--scales {text}: expected factors from 0.1 to 4 with commas; for example --scales 0.75,1,1.25."
        )
    return scales


def print_scores(report: "Report") -> None:
    """The classes, then the means."""
    pixels = report.counts.sum(axis=1)
    total = max(int(pixels.sum()), 1)
    rows = [
        [name, _score(iou), _score(accuracy), f"{100 * int(count) / total:.1f}%"]
        for name, iou, accuracy, count in zip(
            report.labels.names, report.scores.iou, report.scores.accuracy, pixels, strict=True
        )
    ]
    console.print_table(rows, header=["class", "IoU", "accuracy", "share"])
    console.result("")
    console.result(
        f"mIoU {_score(report.miou)}   pixel accuracy {_score(report.scores.pixel_accuracy)}   "
        f"mean accuracy {_score(report.scores.mean_accuracy)}   "
        f"frequency-weighted IoU {_score(report.scores.frequency_weighted_iou)}   loss {_score(report.loss)}"
    )
    absent = [report.labels.names[index] for index in report.scores.absent_classes]
    if absent:
        console.result(f"absent from truth and prediction, left out of the mean: {', '.join(absent)}")
    console.result(
        f"{len(report.images)} images of split {report.split!r} at their own size, engine {report.engine} {report.precision}"
        + ("" if report.views.is_single else f", {report.views.count} views averaged")
    )


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"

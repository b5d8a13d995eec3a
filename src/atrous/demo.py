"""The main job on generated scenes: write them as a VOC-like folder, then check, train, evaluate, predict, report."""

import time
from dataclasses import dataclass
from pathlib import Path

from atrous.api import Run, train
from atrous.collection import find_images, predict_files
from atrous.data.audit import audit
from atrous.data.layouts import open_dataset
from atrous.data.samples import Dataset
from atrous.data.summary import summary_lines
from atrous.errors import ConfigError
from atrous.evaluation import Report, evaluate_model
from atrous.files import make_folder, write_atomically
from atrous.images import write_image, write_mask
from atrous.prediction import Model
from atrous.report import Page, write_page
from atrous.scenes import SCENE_LABELS, draw_scene
from atrous.training.narrator import Narrator, duration

__all__ = ["DemoResult", "run_demo", "write_scenes"]

SIZE = (192, 256)
COUNTS = {"train": 200, "val": 20, "test": 40}
# From random weights in minutes: a small network, larger rates, little change of scale.
SETTINGS = {
    "model": "deeplabv3plus_mobilenet_v2",
    "network": {"separable": True, "aspp_channels": 64, "decoder_channels": 64, "atrous_rates": (3, 6, 9)},
    "weights": "none",
    "crop": (160, 224),
    "enlarge": 1.0,
    "batch": 8,
    "rate": 2e-3,
    "head_factor": 1.0,
    "scale": (0.8, 1.25),
    "validations": 4,
    "workers": 0,
}


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo came to: the run, its scores on scenes it never saw, and the page."""

    run: Run
    report: Report
    page: Path
    seconds: float


def run_demo(
    out: Path, *, seed: int, minutes: float, narrator: Narrator, counts: dict[str, int] | None = None
) -> DemoResult:
    """Do the whole job below `out`.

    `counts` are the scenes per split; scores are of split `test`, which neither training nor selection saw.

    Raises:
        ConfigError: `out` exists and is not empty.
    """
    begin = time.monotonic()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"{out}: already exists and is not empty; the demo overwrites nothing. Give another --out, or remove it."
        )
    data = out / "scenes"
    narrator.note(f"1/5 draw: {sum((counts or COUNTS).values())} scenes into {data}")
    write_scenes(data, seed=seed, counts=counts or COUNTS)
    dataset = open_dataset(data)
    narrator.note(f"2/5 check: atrous check {data}")
    checked = audit(dataset)
    for line in summary_lines(checked):
        narrator.note(f"    {line}")
    narrator.note(f"3/5 train: {minutes:g} minutes from random weights")
    run = train(
        data, out=out / "run", narrator=narrator, started=time.monotonic(), seed=seed, minutes=minutes, **SETTINGS
    )
    model = run.model()
    narrator.note(f"4/5 evaluate: atrous evaluate {run.folder} {data} --split test")
    report = evaluate_model(model, dataset, split="test")
    narrator.note(f"5/5 predict: atrous predict {run.folder} {data / 'JPEGImages'} --out {out / 'predictions'}")
    _predict_some(model, dataset, out / "predictions")
    page = _write_page(out, run, model, dataset, report, seed)
    seconds = time.monotonic() - begin
    narrator.note(f"done in {duration(seconds)}")
    return DemoResult(run=run, report=report, page=page, seconds=seconds)


def write_scenes(root: Path, *, seed: int, counts: dict[str, int], size: tuple[int, int] = SIZE) -> None:
    """Write scenes of `size` (height, width) as a VOC-like folder; the same seed gives the same files."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        make_folder(root / folder)
    number = 0
    for split, count in counts.items():
        names: list[str] = []
        for _ in range(count):
            name = f"scene_{number:04d}"
            image, mask = draw_scene(seed=1_000_000 * seed + number, size=size)
            write_image(root / "JPEGImages" / f"{name}.jpg", image)
            write_mask(root / "SegmentationClass" / f"{name}.png", mask, SCENE_LABELS)
            names.append(name)
            number += 1
        write_atomically(root / "ImageSets" / "Segmentation" / f"{split}.txt", ("\n".join(names) + "\n").encode())
    lines = [
        f"{name}:{red},{green},{blue}::"
        for name, (red, green, blue) in zip(SCENE_LABELS.names, SCENE_LABELS.palette, strict=True)
    ]
    write_atomically(root / "labelmap.txt", ("# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n").encode())


def _predict_some(model: Model, dataset: Dataset, out: Path) -> None:
    files = find_images([str(sample.image) for sample in dataset.splits["test"][:8]])
    for _ in predict_files(model, files, out=out):
        pass


def _write_page(out: Path, run: Run, model: Model, dataset: Dataset, report: Report, seed: int) -> Path:
    page = out / "report.html"
    commands = [
        ("look at your own data", "atrous check YOUR_DATA"),
        ("train on it", "atrous train YOUR_DATA"),
        ("use this model", f"atrous predict {run.folder} {dataset.root / 'JPEGImages'} --out predictions"),
        ("see what it knows", f"atrous info {run.folder}"),
    ]
    write_page(
        page,
        Page(
            title="atrous demo: generated scenes",
            report=report,
            model=model,
            dataset=dataset,
            history=run.history,
            notes=dataset.notes,
            facts={"seed": str(seed)},
            commands=commands,
        ),
    )
    return page

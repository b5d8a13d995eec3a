"""The library's two jobs, each with its page: `train` and `evaluate`."""

import platform
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atrous.claims import claimed
from atrous.config import TrainConfig, make_config
from atrous.data.audit import AuditResult, audit
from atrous.data.pixels import choose_pixels, fits_data, kind_read_by
from atrous.data.public import open_data
from atrous.data.samples import Dataset
from atrous.data.statistics import measure_bands
from atrous.environment import package_versions
from atrous.errors import ConfigError, DataError, OutputError
from atrous.evaluation import Report, Views, evaluate_model
from atrous.files import make_folder
from atrous.foreign import build
from atrous.models.deeplab import DeepLab
from atrous.origin import Origin, find_origin, published_path
from atrous.prediction import Model, load
from atrous.report import Page, write_page
from atrous.training.document import check_data, config_of, describe_run, origin_of
from atrous.training.forecast import Forecast
from atrous.training.loop import Outcome, fit, forecast
from atrous.training.narrator import Narrator, Say
from atrous.training.plan import Facts, Plan, make_plan
from atrous.training.run_folder import RunFolder, new_run_folder
from atrous.weights import load_weights

__all__ = ["Run", "evaluate", "plan_training", "resume", "train"]

SHOWN_ERRORS = 5
SPARE_BYTES = 50 * 2**20


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: its folder, the best validation, and one row per validation."""

    folder: Path
    best: Report | None
    history: Sequence[dict[str, Any]]
    config: TrainConfig

    def model(self, *, device: str = "auto") -> Model:
        """Open the best model."""
        return load(self.folder, device=device)


def train(
    data: str | Path,
    *,
    recipe: str = "auto",
    out: str | Path | None = None,
    narrator: Narrator | None = None,
    started: float | None = None,
    **settings: Any,
) -> Run:
    """Fine-tune a network and return the finished run.

    Args:
        data: a folder in any layout that is recognised, a data.yaml, or the name of a public set (`voc2012`,
            `voc2012-aug`), which is fetched once.
        recipe: a name in `atrous.config.RECIPES`.
        out: the run folder; by default runs/train/NAME-N.
        narrator: hears what is decided and how things stand; silent by default.
        started: `time.monotonic()` that `minutes` are counted from; now by default.
        settings: any field of `atrous.config.TrainConfig`, e.g. `model=..., epochs=50, weights="none"`.

    Raises:
        ConfigError, DataError, WeightsError, OutputError, TrainingError: see `atrous.errors`.
    """
    start = time.monotonic() if started is None else started
    narrator = narrator or Narrator()
    dataset, plan, network = _prepare(data, recipe, settings, narrator)
    run = new_run_folder(dataset.root.resolve().name or "run", out=None if out is None else Path(out))
    with _owned(run):
        _preflight(run, network)
        run.write_config(describe_run(plan, dataset, data))
        narrator.note(f"run folder {run.path}")
        narrator.listen(run.log)
        outcome = fit(network, dataset, plan, run, narrator=narrator, start=start)
        _finish(run, plan, dataset, outcome, narrator)
    return Run(folder=run.path, best=outcome.best, history=outcome.history, config=plan.config)


def plan_training(
    data: str | Path,
    *,
    recipe: str = "auto",
    narrator: Narrator | None = None,
    started: float | None = None,
    **settings: Any,
) -> Forecast:
    """Decide on a training as `train` would, measure a few of its steps, and tell what it would take.

    Nothing is written. The arguments are those of `train`.
    """
    start = time.monotonic() if started is None else started
    narrator = narrator or Narrator()
    dataset, plan, network = _prepare(data, recipe, settings, narrator)
    return forecast(network, dataset, plan, narrator=narrator, start=start)


def _prepare(
    data: str | Path, recipe: str, settings: dict[str, Any], narrator: Narrator
) -> tuple[Dataset, Plan, DeepLab]:
    """Read and check the data, decide, and build the network with its first weights."""
    config = make_config(recipe, settings)
    dataset = _with_bands(open_data(data, note=narrator.note, status=narrator.status), config)
    for line in dataset.notes:
        narrator.note(line)
    origin = find_origin(config.weights)
    checked = _check(dataset, data, narrator.note)
    plan = make_plan(config, dataset, _facts_of(checked, origin), origin)
    network = _begin(plan, origin, narrator)
    for line in plan.reasons:
        narrator.note(line)
    return dataset, plan, network


def resume(folder: str | Path, *, narrator: Narrator | None = None, started: float | None = None) -> Run:
    """Go on with a run that was stopped or killed, from its last saved state, and return it finished.

    On a CPU, a run of `epochs` ends with the weights that it would have had without the stop, bit for bit. A run of
    `minutes` gets the minutes that were left.

    Raises:
        ConfigError: not a run's folder, or a run that has come to its end.
        DataError: the data are not those that the run began with.
        WeightsError: there is no saved state, or it is damaged.
    """
    start = time.monotonic() if started is None else started
    narrator = narrator or Narrator()
    run = RunFolder(Path(folder))
    document = run.read_config()
    config = config_of(document)
    with _owned(run):
        run.clean()
        narrator.listen(run.log)
        state = run.read_state(narrator.note)
        if state is not None and state["position"]["progress"] >= 1 and run.metrics.exists():
            raise ConfigError(
                f"{run.path}: this run has come to its end (step {state['position']['step']}). Train on from its model "
                f"with --weights {run.model}, or start another run."
            )
        dataset = _with_bands(open_data(document["data"]["path"]), config)
        check_data(document, dataset, run)
        checked = _check(dataset, dataset.root, narrator.note)
        origin = origin_of(document, run)
        plan = make_plan(config, dataset, _facts_of(checked, origin), origin)
        if state is None:
            narrator.note("the run was stopped before its first state was saved: it begins anew")
            network = _begin(plan, find_origin(config.weights), narrator)
        else:
            network = build(plan.model, **plan.network)
        outcome = fit(network, dataset, plan, run, narrator=narrator, start=start, state=state)
        _finish(run, plan, dataset, outcome, narrator)
    return Run(folder=run.path, best=outcome.best, history=outcome.history, config=plan.config)


@contextmanager
def _owned(run: RunFolder) -> Iterator[None]:
    """Keep other processes from training in the same folder."""
    with claimed(run.path / "run") as is_ours:
        if not is_ours:
            raise ConfigError(
                f"{run.path}: another process is training in this folder. Wait for it, or stop it first; the folder can be "
                "resumed then."
            )
        yield


def _begin(plan: Plan, origin: Origin, narrator: Narrator) -> DeepLab:
    """The network with the weights that the run starts from."""
    weights = origin.path or published_path(plan.config.weights, plan.model, note=narrator.note, status=narrator.status)
    torch.manual_seed(plan.config.seed)
    network = build(plan.model, **plan.network)
    if weights is not None:
        narrator.note(f"weights: {load_weights(network, weights).summary}")
    else:
        narrator.note("weights: random, as asked (--weights none)")
    return network


def evaluate(
    model: Model | str | Path,
    data: str | Path,
    *,
    split: str = "val",
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    device: str = "auto",
    engine: str = "auto",
    out: str | Path | None = None,
    say: Say | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Measure a model on a split of a data set.

    Args:
        model: a `Model`, a run folder, or a model file.
        data: a folder in any layout that is recognised, a data.yaml, or the name of a public set (`voc2012`,
            `voc2012-aug`), which is fetched once.
        split: train, val or test.
        scales: sizes at which every image enters, times its own; the probabilities of all are averaged.
        flip: average with the mirrored image too.
        device: where a model that is opened here runs.
        engine: what runs a model that is opened here; see `Model`.
        out: a folder for `metrics.json` and `report.html`; nothing is written without it.
        say: hears what was recognised.
        progress: called with (images done, images in all).
    """
    opened = model if isinstance(model, Model) else load(model, device=device, engine=engine)
    narrator = Narrator() if say is None else Narrator(say, say)
    dataset = open_data(data, note=narrator.note, status=narrator.status)
    for line in dataset.notes:
        narrator.note(line)
    if not fits_data(opened.preprocessing, dataset.pixels):
        narrator.note(f"The model reads {kind_read_by(opened.preprocessing)}, so the images are read as that.")
    views = Views(scales=tuple(scales), flip=flip)
    report = evaluate_model(opened, dataset, split=split, views=views, progress=progress)
    narrator.note(f"engine {opened.engine.name} {opened.engine.precision}: {opened.engine.reason}")
    if out is not None:
        folder = RunFolder(Path(out))
        make_folder(folder.path)
        folder.write_metrics(report.as_json())
        page = Page(
            title=f"{dataset.root.resolve().name}: {split}",
            report=report,
            model=opened,
            dataset=dataset,
            notes=dataset.notes,
            facts=_facts(),
            commands=_next_commands(str(opened.path or "MODEL"), dataset),
        )
        write_page(folder.report, page)
    return report


def _with_bands(dataset: Dataset, config: TrainConfig) -> Dataset:
    """The data set read as the settings say, where they say it."""
    return dataset if config.bands == "auto" else choose_pixels(dataset, config.bands)


def _check(dataset: Dataset, data: str | Path, say: Say) -> AuditResult:
    """Look through the data before any time is spent.

    Raises:
        DataError: there are errors; names the first few and `atrous check`.
    """
    checked = audit(dataset)
    errors = [finding for finding in checked.findings if finding.severity == "error"]
    if errors:
        shown = "\n  ".join(str(finding) for finding in errors[:SHOWN_ERRORS])
        more = f"\n  and {len(errors) - SHOWN_ERRORS} more" if len(errors) > SHOWN_ERRORS else ""
        raise DataError(
            f"{data}: {len(errors)} errors in the data, so nothing was trained:\n  {shown}{more}\n"
            f"Run `atrous check {data}` for all of them."
        )
    others = [finding for finding in checked.findings if finding.code != "D010"]
    for finding in others[:SHOWN_ERRORS]:
        say(str(finding))
    images = sum(split.missing_images for split in checked.splits.values())
    if images:
        pixels = sum(split.missing_pixels for split in checked.splits.values())
        say(f"{pixels:,} pixels of {images:,} images are no numbers: void in the masks, the mean colour in the images")
    return checked


def _facts_of(checked: AuditResult, origin: Origin) -> Facts:
    """What the plan needs of the training split. Its bands are measured where it does not use the weights' scaling."""
    train, dataset = checked.splits.get("train"), checked.dataset
    if train is None:
        return Facts(sizes=(), class_pixels=(), presence=np.zeros((0, 0), np.bool_))
    measured = None
    if not dataset.pixels.is_photo and not fits_data(origin.preprocessing, dataset.pixels):
        measured = measure_bands(dataset, dataset.splits["train"])
    return Facts(
        sizes=tuple(train.sizes.elements()),
        class_pixels=train.class_pixels,
        presence=train.presence,
        bands=measured,
    )


def _preflight(run: RunFolder, network: DeepLab) -> None:
    """Stop before the first step if the disk cannot hold what the run writes.

    Raises:
        OutputError: too little room.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    # The best model, and three states, one being written: weights, their mean, and at most two moments of each.
    needed = (2 + 3 * 4) * size + SPARE_BYTES
    free = shutil.disk_usage(run.path).free
    if free < needed:
        raise OutputError(
            f"{run.path}: {free / 2**20:.0f} MB free, but the run writes up to {needed / 2**20:.0f} MB. "
            "Free some space, or give a folder on another disk with --out."
        )


def _finish(run: RunFolder, plan: Plan, dataset: Dataset, outcome: Outcome, narrator: Narrator) -> None:
    """Write what the run came to, and say what to do next."""
    model = load(run.path, device=str(plan.device))
    report = outcome.best
    if report is None and dataset.splits.get("val"):  # the best was found before the run was resumed
        report = evaluate_model(model, dataset, split="val")
    if plan.config.test_at_end:
        split = "test" if dataset.splits.get("test") else "val"
        if dataset.splits.get(split) and (report is None or report.split != split):
            report = evaluate_model(model, dataset, split=split)
        if report is not None:
            narrator.note(
                f"{report.split} loss {report.loss:.4f}"
                if report.loss is not None
                else f"{report.split}: no labelled pixel"
            )
    commands = _next_commands(str(run.path), dataset)
    if report is not None:
        run.write_metrics({**report.as_json(), "steps": outcome.steps})
        page = Page(
            title=run.path.name,
            report=report,
            model=model,
            dataset=dataset,
            history=outcome.history,
            notes=(*dataset.notes, *plan.reasons),
            facts=_facts(seed=plan.config.seed, fingerprint=report.fingerprint),
            commands=commands,
        )
        write_page(run.report, page)
        miou = "-" if report.miou is None else f"{report.miou:.4f}"
        narrator.note(f"best mIoU {miou} on {len(report.images)} {report.split} images; page: {run.report}")
    for what, command in commands:
        narrator.note(f"{what}: {command}")


def _next_commands(model: str, dataset: Dataset) -> list[tuple[str, str]]:
    """What one does next with a model, and the command to type."""
    return [
        ("measure it", shlex.join(["atrous", "evaluate", model, str(dataset.root)])),
        ("use it", f"{shlex.join(['atrous', 'predict', model])} IMAGES --out predictions"),
        ("see what it knows", shlex.join(["atrous", "info", model])),
    ]


def _facts(*, seed: int | None = None, fingerprint: str | None = None) -> dict[str, str]:
    """What a page says of where its numbers come from."""
    facts = {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        **package_versions(),
    }
    if seed is not None:
        facts["seed"] = str(seed)
    if fingerprint is not None:
        facts["data fingerprint"] = fingerprint
    return facts

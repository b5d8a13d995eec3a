"""`atrous bench`: how fast models are on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from atrous.cli import console

if TYPE_CHECKING:
    from atrous.speed import EngineSpeed

__all__ = ["bench"]


def bench(
    *models: str,
    size: tuple[int, int] = (513, 513),
    engine: str = "plain,torch",
    device: str = "auto",
    rounds: int = 10,
    batches: str = "1,4",
    classes: int = 21,
    keep: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    plot: Path | None = None,
) -> int:
    """Measure engines: time from file to labels by its parts, memory, images a second, the distance from the floor.

    Parameters
    ----------
    models:
        Run folders, model files or networks' names (with random weights). By default deeplabv3_mobilenet_v3_large.
    size:
        Height and width of the image, pixels.
    engine:
        Engines with commas: torch, plain (the network as it is), onnxruntime, openvino; or all.
    device:
        auto, cpu, cuda, cuda:N or mps.
    rounds:
        How often every act is timed; medians are told.
    batches:
        Images at once, with commas. On a CPU images are computed one by one whatever they come with.
    classes:
        Classes of a network that is given by its name.
    keep:
        Keep files that engines convert, in the cache folder, for later use.
    json:
        Print one JSON object instead of a table.
    plot:
        Draw the parts as bars into this PNG or SVG.
    """
    from atrous.engines import ENGINES
    from atrous.errors import ConfigError
    from atrous.files import make_folder
    from atrous.speed import check_model, draw_speeds, measure_engines

    names = [part.strip() for part in engine.split(",")] if engine != "all" else [e for e in ENGINES if e != "auto"]
    unknown = [name for name in names if name not in ENGINES]
    if unknown or min(size) < 32 or rounds < 1:
        raise ConfigError(
            f"--engine {engine} --size {size[0]} {size[1]} --rounds {rounds}: expected engines among {', '.join(ENGINES)}, "
            "sides of 32 pixels or more, and at least one round."
        )
    counts = _counts(batches)
    models = models or ("deeplabv3_mobilenet_v3_large",)
    for model in models:
        check_model(model)
    if plot is not None:
        if plot.suffix.lower() not in (".png", ".svg"):
            raise ConfigError(f"--plot {plot}: expected a file ending in .png or .svg.")
        make_folder(plot.parent)
    speeds: list[EngineSpeed] = []
    for model in models:
        speeds += measure_engines(
            model,
            names,
            size=size,
            device=device,
            rounds=rounds,
            batches=counts,
            keep=keep,
            classes=classes,
            say=console.note,
        )
    if json:
        console.print_json({"format_version": 1, "speeds": [speed.as_json() for speed in speeds]})
    else:
        _print(speeds)
    if plot is not None:
        draw_speeds(plot, speeds)
        console.note(f"picture: {plot}")
    return 0


def _counts(text: str) -> tuple[int, ...]:
    from atrous.errors import ConfigError

    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise ConfigError(
            f"--batches {text}: expected whole numbers of 1 or more with commas, for example --batches 1,8."
        )
    return counts


def _print(speeds: "list[EngineSpeed]") -> None:
    rows: list[list[str]] = []
    for speed in speeds:
        parts = [1000 * part for part in (speed.decode, speed.prepare, speed.network, speed.labels, speed.total)]
        memory = "-" if speed.memory is None else f"{speed.memory / 2**20:.0f}"
        many = "  ".join(f"{rate:.1f}" for rate in speed.batches.values())
        away = f"{speed.network / speed.floor:.2f}"
        name = Path(speed.model).name
        rows.append([name, speed.engine, *(f"{part:.1f}" for part in parts), memory, many, away, f"{speed.first:.1f}"])
    counts = "/".join(str(count) for count in speeds[0].batches) if speeds else ""
    header = ["model", "engine", "decode ms", "prepare ms", "network ms", "labels ms", "total ms", "memory MB"]
    console.print_table(rows, header=[*header, f"images/s at {counts}", "network / floor", "first s"])
    if speeds:
        first = speeds[0]
        console.result(
            f"{first.size[0]}x{first.size[1]}, {first.device}, {first.threads} threads; floor: multiply-adds over "
            f"{first.rate / 1e9:.0f} billion a second of a matrix product; first: the first image with all preparations"
        )
    for speed in speeds:
        console.note(f"{Path(speed.model).name}, {speed.engine}: {speed.reason}")

"""How fast a model is here: each engine's time and memory, the shares of an image's way, and the distance from the floor.

Every engine is measured in a process of its own, so that its memory is its own.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atrous.engines import label_map
from atrous.errors import AtrousError, ConfigError
from atrous.files import replacing
from atrous.foreign import FOREIGN_NETWORKS, build
from atrous.images import Pixels, read_image, write_image
from atrous.memory import peak_memory
from atrous.models.complexity import count_multiply_adds
from atrous.models.deeplab import is_network
from atrous.prediction import Model, load

__all__ = ["EngineSpeed", "check_model", "draw_speeds", "measure_engines", "product_rate"]

GEMM_SIDE = 2048
# The parts of an image's way, in Okabe and Ito's colours, which differ for every kind of colour vision.
PARTS = {"decode": "#999999", "prepare": "#56B4E9", "network": "#0072B2", "labels": "#E69F00"}
MANY_IMAGES = 1 << 20  # so that every preparation pays


@dataclass(frozen=True, kw_only=True)
class EngineSpeed:
    """One engine on one model and size. Times are medians in seconds of one image; memory in bytes.

    `decode` reads the JPEG, `prepare` normalises, `network` gives coarse logits, `labels` the label map at the image's
    size. `memory` is the peak above what the process held with the model loaded. `floor` is the time that the network's
    multiply-adds take at `rate` (multiply-adds a second of a large matrix product); taps that see only padding count, so
    an engine that leaves them out may come below it. `batches` gives images a second of the network by images at once.
    """

    model: str
    engine: str
    precision: str
    reason: str
    size: tuple[int, int]
    threads: int
    device: str
    first: float
    decode: float
    prepare: float
    network: float
    labels: float
    memory: int | None
    multiply_adds: int
    rate: float
    batches: dict[int, float]

    @property
    def total(self) -> float:
        """From file to labels."""
        return self.decode + self.prepare + self.network + self.labels

    @property
    def floor(self) -> float:
        """Seconds that the multiply-adds take at the measured rate."""
        return self.multiply_adds / self.rate

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON's types, with what follows from them."""
        return {**asdict(self), "size": list(self.size), "total": self.total, "floor": self.floor}


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What a measuring process is told."""

    model: str
    engine: str
    size: tuple[int, int]
    device: str
    threads: int
    rounds: int
    batches: tuple[int, ...]
    keep: bool
    classes: int


def check_model(model: str) -> None:
    """See that there is a file or folder, or a network, of that name.

    Raises:
        ConfigError: there is none.
    """
    if not (Path(model).exists() or is_network(model) or model in FOREIGN_NETWORKS):
        raise ConfigError(
            f"{model}: no such model file or run folder, and no network's name. Check the path; `atrous models` lists the "
            "networks."
        )


def measure_engines(
    model: str,
    engines: Sequence[str],
    *,
    size: tuple[int, int],
    device: str = "auto",
    rounds: int = 10,
    batches: Sequence[int] = (1, 4),
    keep: bool = False,
    classes: int = 21,
    say: Callable[[str], None] = lambda text: None,
) -> list[EngineSpeed]:
    """Measure every engine on a model file, a run folder, or a network's name (with random weights, `classes` of them).

    An engine that cannot run here is told to `say` and left out. `keep` keeps converted files in the cache folder.

    Raises:
        AtrousError: the model cannot be opened, or no engine runs.
    """
    check_model(model)
    speeds: list[EngineSpeed] = []
    fault: AtrousError | None = None
    for engine in engines:
        request = _Request(
            model=model,
            engine=engine,
            size=size,
            device=device,
            threads=torch.get_num_threads(),
            rounds=rounds,
            batches=tuple(batches),
            keep=keep,
            classes=classes,
        )
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            try:
                speeds.append(pool.submit(_measure, request).result())
            except AtrousError as error:
                fault = error
            except BrokenProcessPool:
                fault = ConfigError(
                    f"the process that measured {model} was ended from outside, as happens where memory runs out. Choose a "
                    "smaller --size or smaller --batches."
                )
            else:
                continue
            if len(engines) > 1:
                say(f"{engine}: {fault}")
    if not speeds and fault is not None:
        raise fault
    return speeds


def _measure(request: _Request) -> EngineSpeed:
    torch.set_num_threads(request.threads)
    model = _open(request)
    device = model.device
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.jpg"
        write_image(path, picture(request.size))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        before = peak_memory(device) or 0
        model.expect(MANY_IMAGES)
        begin = time.perf_counter()
        image = _read(path, model)
        label_map(model.views(image), request.size)
        first = time.perf_counter() - begin
        times = [_one_image(model, path, request.size) for _ in range(request.rounds)]
        memory = peak_memory(device)
        prepared = model.preprocessing.prepare(image)
        rates = {count: _batch_rate(model, prepared, count, request.rounds) for count in request.batches}
    decode, prepare, network, labels = (statistics.median(column) for column in zip(*times, strict=True))
    return EngineSpeed(
        model=request.model,
        engine=model.engine.name,
        precision=model.engine.precision,
        reason=model.engine.reason,
        size=request.size,
        threads=request.threads,
        device=str(device),
        first=first,
        decode=decode,
        prepare=prepare,
        network=network,
        labels=labels,
        memory=None if memory is None else max(memory - before, 0),
        multiply_adds=count_multiply_adds(model.network, model.preprocessing.input_size(request.size)),
        rate=product_rate(device),
        batches=rates,
    )


def _open(request: _Request) -> Model:
    if Path(request.model).exists():
        return load(request.model, device=request.device, engine=request.engine, keep=request.keep)
    torch.manual_seed(0)
    network = build(request.model, num_classes=request.classes)
    return Model(network, device=request.device, engine=request.engine, keep=request.keep)


def picture(size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture that codes and segments about as a photograph: a few large shapes and fine noise."""
    rng = np.random.default_rng(0)
    small = rng.integers(40, 216, (9, 12, 3)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(small).permute(2, 0, 1)[None], size=size, mode="bicubic", align_corners=False
    )
    noise = rng.normal(0, 6, (*size, 3))
    return np.clip(smooth[0].permute(1, 2, 0).numpy() + noise, 0, 255).astype(np.uint8)


def _read(path: Path, model: Model) -> Pixels:
    """The picture in a file, or, for a model that is not of RGB, its channels in turn as bands, over the bands' ranges."""
    image, preprocessing = read_image(path), model.preprocessing
    if preprocessing.pixels == "rgb":
        return image
    low, high = preprocessing.ranges
    fractions = image[..., np.arange(preprocessing.bands) % image.shape[2]] / 255
    return (low + fractions * (high - low)).astype(preprocessing.pixels)


def _one_image(model: Model, path: Path, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Seconds of decoding, preparing, the network, and labels."""
    marks = [time.perf_counter()]
    image = _read(path, model)
    marks.append(time.perf_counter())
    prepared = model.preprocessing.prepare(image)
    marks.append(time.perf_counter())
    coarse = model.engine.coarse_logits(prepared)
    if coarse.device.type == "cuda":
        torch.cuda.synchronize(coarse.device)
    marks.append(time.perf_counter())
    label_map((model.as_coarse(coarse, size),), size)
    marks.append(time.perf_counter())
    return marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2], marks[4] - marks[3]


def _batch_rate(model: Model, prepared: np.ndarray[Any, np.dtype[np.float32]], count: int, rounds: int) -> float:
    """Images a second of the network with `count` images at once."""
    images = [prepared] * count
    model.engine.logits_of_many(images)
    seconds: list[float] = []
    for _ in range(max(2, rounds // 2)):
        begin = time.perf_counter()
        logits = model.engine.logits_of_many(images)
        if logits.device.type == "cuda":
            torch.cuda.synchronize(logits.device)
        seconds.append(time.perf_counter() - begin)
    return count / statistics.median(seconds)


def product_rate(device: torch.device) -> float:
    """Multiply-adds a second of a large float32 matrix product (bfloat16 on a GPU), the best of several."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    side = 4 * GEMM_SIDE if device.type == "cuda" else GEMM_SIDE
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        begin = time.perf_counter()
        product = left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(product.device)
        best = min(best, time.perf_counter() - begin)
    return side**3 / best


def draw_speeds(path: Path, speeds: Sequence[EngineSpeed]) -> None:
    """Draw the shares of every engine's time as bars, PNG or SVG by the suffix.

    Raises:
        OutputError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.5 * len(speeds)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = [f"{os.path.basename(speed.model)}\n{speed.engine}" for speed in speeds]  # noqa: PTH119 - a name may be no path
    left = np.zeros(len(speeds))
    for part, colour in PARTS.items():
        widths = np.array([1000 * getattr(speed, part) for speed in speeds])
        axes.barh(names, widths, left=left, color=colour, label=part)
        left += widths
    axes.scatter(
        [1000 * speed.floor for speed in speeds], names, marker="|", s=400, color="black", label="network's floor"
    )
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds an image, from file to labels")
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)

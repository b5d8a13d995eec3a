"""Images of any size: time a megapixel, memory, the labels that windows change, and a run that is killed half-way.

    python benchmarks/tiling.py size --network deeplabv3_mobilenet_v3_large --sides 2000,20000
    python benchmarks/tiling.py labels --model RUN --side 2000 --photos FOLDER
    python benchmarks/tiling.py photo --network deeplabv3_resnet50
    python benchmarks/tiling.py kill --side 6000

`size` and `kill` run `atrous predict` as its own process on a generated GeoTIFF; a run on a tiny image is taken off the
time. `labels` compares stitched and blended windows with the whole image. `photo` measures the peak of resident memory
above the process's start, for 3000x4000 pixels, beside torchvision's network with upsampling and argmax.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from machine import describe

PHOTO = (3000, 4000)
CLASSES = 21


def picture(size: tuple[int, int], *, seed: int = 0) -> NDArray[np.uint8]:
    """A picture of regions with edges and texture, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-size[0] // 120), -(-size[1] // 120), 3), dtype=np.uint8)
    regions = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    texture = rng.integers(-20, 21, (*(min(length, 997) for length in size), 1), dtype=np.int16)
    tiled = np.tile(texture, (-(-size[0] // texture.shape[0]), -(-size[1] // texture.shape[1]), 1))[
        : size[0], : size[1]
    ]
    return np.clip(regions + tiled, 0, 255).astype(np.uint8)


def write_raster(path: Path, side: int) -> None:
    """A tiled RGB GeoTIFF, written by rows."""
    import rasterio
    from rasterio.transform import from_origin

    options: dict[str, Any] = {
        "driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "tiled": True,
        "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1, "crs": "EPSG:32633",
        "transform": from_origin(5e5, 5e6, 0.5, 0.5), "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    with rasterio.open(path, "w", **options) as file:
        for number, top in enumerate(range(0, side, 1024)):
            height = min(1024, side - top)
            rows = picture((height, side), seed=number)
            file.write(np.moveaxis(rows, 2, 0), window=((top, top + height), (0, side)))


def model_file(name: str, folder: Path) -> Path:
    """A model file of a network with random weights."""
    import atrous
    from atrous.models.deeplab import build

    torch.manual_seed(0)
    path = folder / f"{name}.safetensors"
    atrous.Model(build(name, num_classes=CLASSES)).save(path)
    return path


def run(model: Path, image: Path, out: Path, *more: str) -> tuple[float, float, subprocess.CompletedProcess[bytes]]:
    """Seconds and peak megabytes of `atrous predict` on one image."""
    code = (
        "import resource, subprocess, sys, json, time\n"
        "begin = time.perf_counter()\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True)\n"
        "sys.stderr.buffer.write(done.stderr)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
        "print(json.dumps([time.perf_counter() - begin, used, done.returncode]))\n"
    )
    command = [sys.executable, "-m", "atrous", "predict", model, image, "--out", out, "--save", "mask", *more]
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, check=False)
    seconds, peak, code_returned = json.loads(done.stdout)
    if code_returned:
        raise SystemExit(done.stderr.decode())
    return seconds, peak, done


def measure_sizes(name: str, sides: list[int], more: list[str]) -> None:
    """Seconds a megapixel and peak memory for every side."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = model_file(name, root)
        tiny = root / "tiny.tif"
        write_raster(tiny, 64)
        start = min(run(model, tiny, root / "out")[0] for _ in range(2))
        print(f"{name}: start-up {start:.1f} s")
        first: float | None = None
        for side in sides:
            image = root / f"{side}.tif"
            write_raster(image, side)
            seconds, peak, done = run(model, image, root / "out", *more)
            each = (seconds - start) / (side * side / 1e6)
            first = each if first is None else first
            print(
                f"{side}x{side}: {seconds:.1f} s, {each:.3f} s a megapixel ({each / first:.2f} of the first), "
                f"peak {peak:.0f} MB; {done.stderr.decode().splitlines()[0].partition(': ')[2]}",
                flush=True,
            )
            image.unlink()


def measure_labels(source: str, side: int, photos: Path | None) -> None:
    """The share of pixels whose label windows change."""
    import atrous
    from atrous.engines import Coarse, label_map
    from atrous.images import read_image
    from atrous.models.deeplab import NETWORKS, build
    from atrous.tiling import Blended, Tiles

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from random_weights import randomise

    if source in NETWORKS:
        model = atrous.Model(randomise(build(source, num_classes=CLASSES)), tile="off")
    else:
        model = atrous.load(source, tile="off")
    if photos is None:
        image = picture((side, side))
    else:
        found = [read_image(path) for path in sorted(photos.glob("*.png"))]
        rows = [np.hstack([found[(row * 7 + column) % len(found)] for column in range(12)]) for row in range(12)]
        image = np.ascontiguousarray(np.vstack(rows)[:side, :side])
    rule = model.preprocessing.as_read()
    pixels = model.preprocessing.resized(image)
    whole = model.predict(image).label_map
    cost = {}
    for window in (512, 1024):
        tiles = Tiles(window, True, "")
        stitched = label_map([model.tiler.coarse(tiles, pixels, rule, engine=model.engine)], (side, side))
        blended = Blended(
            model.engine.coarse_logits,
            rule,
            size=(pixels.shape[0], pixels.shape[1]),
            read=lambda rows, columns: pixels[rows, columns],
            window=window,
        )
        coarse = Coarse(torch.cat([part for _, part in blended.rows()], dim=2), blended.cover)
        cost[window] = ((stitched == whole).mean(), (label_map([coarse], (side, side)) == whole).mean())
        print(
            f"{source}, {side}x{side}, {len(np.unique(whole))} classes, windows of {window}: stitched "
            f"{cost[window][0]:.4%}, blended without the image's means {cost[window][1]:.4%} of the labels",
            flush=True,
        )


def photo_memory(name: str, way: str) -> None:
    """Print the peak of resident megabytes above the start, and the seconds, of one way."""
    if way == "eager":
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parity"))
        from torchvision_reference import reference_network

        network, model = reference_network(name, num_classes=CLASSES).eval(), None
    else:
        import atrous

        folder = tempfile.TemporaryDirectory()  # until the end: weights are read again for windows
        network, model = None, atrous.load(model_file(name, Path(folder.name)))
    image = picture(PHOTO)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    if network is not None:
        with torch.inference_mode():
            tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float().div_(255)
            network(tensor)["out"].argmax(dim=1).byte().numpy()
    elif model is not None:
        model.predict(image)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    print(json.dumps([used, time.perf_counter() - begin]))


def measure_photo(name: str) -> None:
    """Ours beside torchvision's, each in a process of its own."""
    found: dict[str, list[float]] = {}
    for way in ("atrous", "eager"):
        done = subprocess.run([sys.executable, __file__, "one", name, way], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{way}: ended with {done.returncode} {done.stderr[-300:]}")
            continue
        found[way] = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{name}, {PHOTO[0]}x{PHOTO[1]}, {way}: {found[way][0]:.0f} MB above the start, {found[way][1]:.1f} s",
            flush=True,
        )
    if len(found) == 2:
        memory, seconds = (ours / peer for ours, peer in zip(found["atrous"], found["eager"], strict=True))
        print(f"ours over eager: memory {memory:.3f}, time {seconds:.2f}")


def measure_kill(name: str, side: int) -> None:
    """Kill a run half-way, go on, and compare the bytes with an undisturbed run's."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model, image = model_file(name, root), root / "large.tif"
        write_raster(image, side)
        seconds, _, _ = run(model, image, root / "whole")
        command = [sys.executable, "-m", "atrous", "predict", model, image, "--out", root / "cut", "--save", "mask"]
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        again, _, _ = run(model, image, root / "cut")
        digests = [hashlib.sha256((root / part / "large.tif").read_bytes()).hexdigest() for part in ("whole", "cut")]
        same = digests[0] == digests[1]
        print(f"{side}x{side}: {seconds:.1f} s; killed half-way, then {again:.1f} s; same bytes: {same}")


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["size", "labels", "photo", "kill", "one"])
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--network", default="deeplabv3_mobilenet_v3_large")
    parser.add_argument("--model")
    parser.add_argument("--sides", default="2000,20000")
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--tile", default="auto")
    options = parser.parse_args()
    if options.what == "one":
        photo_memory(*options.rest)
        return
    print(describe())
    if options.what == "size":
        measure_sizes(options.network, [int(side) for side in options.sides.split(",")], ["--tile", options.tile])
    elif options.what == "labels":
        measure_labels(options.model or options.network, options.side, options.photos)
    elif options.what == "photo":
        measure_photo(options.network)
    else:
        measure_kill(options.network, options.side)


if __name__ == "__main__":
    main()

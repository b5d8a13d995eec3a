"""How fast is one image, from its JPEG to its labels, and in how much memory, beside what else a user would run?

The same network and weights in several ways: atrous for one image and for a large job, and with its other engines;
torchvision's network in eager mode, in channels_last memory, and compiled; and torchvision's own export in ONNX Runtime and
OpenVINO. The peers read with Pillow, normalise with torchvision's functions, upsample to the image's size inside the network
and take the argmax, as their users write it. Every way is a process of its own; they take turns, an image each, and the
medians are told. Memory is the peak above that of the process with PyTorch imported and nothing else (Linux).
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = ("read", "network", "labels")
# Engines, and the images that they are told to expect: with many, trials of convolutions and compiled kernels pay.
OWN = {
    "atrous": ("torch", 1),
    "atrous-many": ("torch", 1 << 20),
    "atrous-onnxruntime": ("onnxruntime", 1),
    "atrous-openvino": ("openvino", 1),
}
PEERS = ("eager", "channels_last", "compile", "onnxruntime", "openvino")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True)
class Case:
    """A network, the image's height and width, its classes, and what of the fastest peer's time it may take."""

    network: str
    size: tuple[int, int]
    classes: int
    must: float


CASES = {
    "mobilenet": Case("deeplabv3_mobilenet_v3_large", (513, 513), 21, 0.70),
    "resnet": Case("deeplabv3_resnet50", (513, 513), 21, 0.90),
    "driving": Case("deeplabv3_mobilenet_v3_large", (1024, 2048), 19, 0.75),
    "classes": Case("deeplabv3_mobilenet_v3_large", (512, 512), 150, 0.75),
}
Way = Callable[[Path], tuple[Any, list[float]]]


sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / name) for name in ("parity", "")]


def make_weights(case: Case, folder: Path) -> None:
    """Weights, and batch norm statistics, that are not trivial; every class wins somewhere in the picture."""
    import torch
    from safetensors.torch import load_file, save_file
    from test_torchvision_parity import make_like_trained

    from atrous.images import read_image
    from atrous.models import deeplab
    from atrous.prediction import Model
    from atrous.preprocessing import Preprocessing

    network = reference(case)
    torch.manual_seed(0)
    make_like_trained(network)
    picture = torch.from_numpy(Preprocessing().prepare(read_image(folder / "scene.jpg"))).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = network.eval()(picture)["out"]
        network.classifier[-1].bias -= logits.mean(dim=(0, 2, 3))
    save_file(network.state_dict(), folder / "weights.safetensors")
    own = deeplab.build(case.network, num_classes=case.classes)
    own.load_state_dict(load_file(folder / "weights.safetensors"))
    Model(own, device="cpu").save(folder / "model.safetensors")


def reference(case: Case, weights: Path | None = None) -> Any:
    """The network of torchvision."""
    from safetensors.torch import load_file
    from torchvision_reference import reference_network

    network = reference_network(case.network, num_classes=case.classes)
    if weights is not None:
        network.load_state_dict(load_file(weights))
    return network.eval()


def own_way(case: Case, engine: str, folder: Path, images: int) -> Way:
    """A model file through `atrous.load`, its parts timed, for a job of so many images."""
    from atrous.engines import label_map
    from atrous.images import read_image
    from atrous.prediction import load

    model = load(folder / "model.safetensors", device="cpu", engine=engine)
    model.expect(images)

    def way(path: Path) -> tuple[Any, list[float]]:
        marks = [time.perf_counter()]
        prepared = [model.preprocessing.prepare(read_image(path))]
        marks.append(time.perf_counter())
        coarse = model.engine.coarse_logits(prepared.pop())
        marks.append(time.perf_counter())
        labels = label_map((model.as_coarse(coarse, case.size),), case.size)
        return labels, [*marks, time.perf_counter()]

    return way


def peer_way(case: Case, name: str, folder: Path) -> Way:
    """As users of torchvision write it."""
    import torch
    from PIL import Image

    if name in ("onnxruntime", "openvino"):
        importlib.import_module("torchvision_reference")  # lets torchvision be imported beside a CPU build of torch

        run = file_runner(name, folder / "network.onnx")
    else:
        network = reference(case, folder / "weights.safetensors")
        if name != "eager":
            network = network.to(memory_format=torch.channels_last)
        called: Any = torch.compile(network) if name == "compile" else network

        def run(batch: Any, /) -> Any:
            batch = batch if name == "eager" else batch.contiguous(memory_format=torch.channels_last)
            return called(batch)["out"]

    from torchvision.transforms import functional

    def way(path: Path) -> tuple[Any, list[float]]:
        marks = [time.perf_counter()]
        image = functional.pil_to_tensor(Image.open(path).convert("RGB"))
        batch = functional.normalize(functional.convert_image_dtype(image), MEAN, STD)[None]
        marks.append(time.perf_counter())
        logits = run(batch)
        marks.append(time.perf_counter())
        labels = logits.argmax(1)[0]
        return labels, [*marks, time.perf_counter()]

    return way


def file_runner(name: str, exported: Path) -> Callable[[Any], Any]:
    """ONNX Runtime or OpenVINO on an exported file, with as many threads as PyTorch has."""
    import torch

    if name == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
        return lambda batch: session.run(None, {"image": batch.numpy()})[0]
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(str(exported), "CPU", settings).create_infer_request()
    return lambda batch: request.infer({0: batch.numpy()})[0]


def export(case: Case, folder: Path) -> None:
    """Export torchvision's network as PyTorch's documentation says, for any height and width."""
    import torch

    network = reference(case, folder / "weights.safetensors")

    class Out(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.network(image)["out"]

    torch.onnx.export(
        Out(),
        (torch.randn(1, 3, *case.size),),
        str(folder / "network.onnx"),
        dynamo=True,
        input_names=["image"],
        dynamic_shapes=({2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},),
        verbose=False,
    )


def peak_bytes() -> int:
    """The most that this process has held; what getrusage tells begins with the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def work(case: Case, name: str, folder: Path, threads: int) -> None:
    """A way's process: an image for every line that comes in, its times as a line of JSON."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    start = peak_bytes()
    if name in ("weights", "export"):
        make_weights(case, folder) if name == "weights" else export(case, folder)
        return
    if name in OWN:
        engine, images = OWN[name]
        way = own_way(case, engine, folder, images)
    else:
        way = peer_way(case, name, folder)
    for _ in sys.stdin:
        with torch.inference_mode():
            labels, marks = way(folder / "scene.jpg")
        if not (folder / f"{name}.npy").exists():
            np.save(folder / f"{name}.npy", np.asarray(labels).astype(np.uint8))
        times = {part: marks[index + 1] - marks[index] for index, part in enumerate(PARTS)}
        print(json.dumps({**times, "memory": peak_bytes() - start}), flush=True)


def spawn(case_name: str, name: str, folder: Path, threads: int) -> subprocess.Popen[str]:
    """Start a way's process."""
    command = [sys.executable, __file__, "--case", case_name, "--worker", name, "--folder", str(folder)]
    log = (folder / f"{name}.log").open("w")
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "ATROUS_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [*command, "--threads", str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=environment,
    )


def ask(process: subprocess.Popen[str]) -> dict[str, float] | None:
    """One image; None where the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("go\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    line = process.stdout.readline()
    return json.loads(line) if line else None


def compare(case_name: str, names: list[str], folder: Path, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """Let the ways take turns; medians of their parts, the first image's seconds, memory."""
    from PIL import Image

    from atrous.speed import picture

    case = CASES[case_name]
    Image.fromarray(picture(case.size)).save(folder / "scene.jpg", quality=90)
    for step in ("weights", "export"):
        spawn(case_name, step, folder, threads).communicate()
    found: dict[str, list[dict[str, float]]] = {}
    first: dict[str, float] = {}
    processes = {name: spawn(case_name, name, folder, threads) for name in names}
    for name, process in processes.items():
        begin = time.perf_counter()
        if ask(process) is None:
            print(f"{name} did not run: {(folder / f'{name}.log').read_text()[-300:]}")
            continue
        first[name] = time.perf_counter() - begin
        ask(process)
        found[name] = []
    for _ in range(rounds):
        for name, times in found.items():
            answer = ask(processes[name])
            assert answer is not None
            times.append(answer)
    for process in processes.values():
        process.communicate()
    middle: dict[str, dict[str, float]] = {}
    for name, times in found.items():
        middle[name] = {part: statistics.median(one[part] for one in times) for part in PARTS}
        middle[name]["total"] = statistics.median(sum(one[part] for part in PARTS) for one in times)
        middle[name].update(memory=times[-1]["memory"], first=first[name], same=agreement(folder, name))
    return middle


def agreement(folder: Path, name: str) -> float:
    """The share of pixels on which the labels are eager's."""
    import numpy as np

    if not (folder / "eager.npy").exists():
        return float("nan")
    return float((np.load(folder / f"{name}.npy") == np.load(folder / "eager.npy")).mean())


def tell(case_name: str, middle: dict[str, dict[str, float]]) -> None:
    """Print a case's table and its ratios."""
    case = CASES[case_name]
    print(f"\n{case.network} {case.size[0]}x{case.size[1]}, {case.classes} classes")
    print(f"| {'way':<19} | read | network | labels | total ms | memory MB | first s | labels as eager |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, row in middle.items():
        parts = " | ".join(f"{1000 * row[part]:.1f}" for part in (*PARTS, "total"))
        print(f"| {name:<19} | {parts} | {row['memory'] / 2**20:.0f} | {row['first']:.1f} | {row['same']:.5%} |")
    peers = [name for name in middle if name in PEERS]
    if not peers:
        return
    best = min(peers, key=lambda name: middle[name]["total"])
    fast = min(peers, key=lambda name: middle[name]["network"])
    for name in (name for name in middle if name in OWN):
        own = middle[name]
        ratios = f"{own['total'] / middle[best]['total']:.3f} of {best} (must {case.must})"
        alone = f"network alone {own['network'] / middle[fast]['network']:.3f} of {fast}"
        memory = f"memory {own['memory'] / middle['eager']['memory']:.3f} of eager" if "eager" in middle else ""
        print(f"{name}: file to labels {ratios}; {alone}; {memory}")


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, action="append", help="by default all")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ways", default=",".join((*OWN, *PEERS)), help="which ways, with commas")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(CASES[arguments.case[0]], arguments.worker, arguments.folder, arguments.threads)
        return
    from machine import describe

    print(describe())
    for case_name in arguments.case or CASES:
        names = arguments.ways.split(",")
        with tempfile.TemporaryDirectory() as folder:
            tell(case_name, compare(case_name, names, Path(folder), arguments.rounds, arguments.threads))


if __name__ == "__main__":
    main()

"""How fast is a video from file to overlay and masks, beside its network alone?

The network sees the same frames both times, and the two take turns, so that other work on the machine meets both.
Weights are random: they take as long as any.
"""

import argparse
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

SIZE = (480, 640)
RATE = Fraction(1001, 30_000)  # seconds a frame
PAN = 2  # pixels a frame
NOISE = 3.0  # deviation, as a camera's
LENGTH = 1000  # frames that the engine is told to expect: it prepares itself as for a usual video


def write_clip(path: Path, frames: int) -> list[np.ndarray]:
    """A picture that is panned over, with a camera's noise; gives its frames as they are read again."""
    from atrous.speed import picture
    from atrous.video import VideoWriter, open_video

    wide = picture((SIZE[0], SIZE[1] + PAN * frames)).astype(np.float32)
    noise = np.random.default_rng(0)
    with VideoWriter(path, SIZE, time_base=Fraction(1, 30_000)) as writer:
        for number in range(frames):
            view = wide[:, PAN * number : PAN * number + SIZE[1]]
            pixels = np.clip(view + noise.normal(0, NOISE, (*SIZE, 1)), 0, 255).astype(np.uint8)
            writer.write(pixels, number * RATE, RATE)
    with open_video(path) as clip:
        return [frame.pixels for frame in clip]


def main() -> None:
    """Alternate, and print frames a second, their ratio, and the flicker figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="deeplabv3_mobilenet_v3_large")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smooth", type=float, default=0.0)
    arguments = parser.parse_args()
    import torch

    from atrous.footage import VideoSettings, segment_video
    from atrous.models import deeplab
    from atrous.prediction import Model
    from machine import describe

    torch.manual_seed(0)
    model = Model(deeplab.build(arguments.network, num_classes=21))
    model.expect(LENGTH)
    print(describe())
    print(f"{arguments.network}, {SIZE[0]}x{SIZE[1]}, {arguments.frames} frames, {arguments.rounds} rounds")
    settings = VideoSettings(smooth=arguments.smooth)
    seconds: dict[str, list[float]] = {"network": [], "overlay": [], "mask,overlay": []}
    work: dict[str, list[float]] = {way: [] for way in seconds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = [model.preprocessing.prepare(pixels) for pixels in write_clip(folder / "clip.mp4", arguments.frames)]
        for turn in range(arguments.rounds + 1):
            for way, times in seconds.items():
                begin, busy = time.perf_counter(), time.process_time()
                if way == "network":
                    for image in prepared:
                        model.engine.coarse_logits(image).sum().item()
                else:
                    save = way.split(",")
                    segment_video(model, folder / "clip.mp4", folder / "out/clip", save=save, settings=settings)
                if turn:  # the first round lays out weights and loads kernels
                    times.append(time.perf_counter() - begin)
                    work[way].append(time.process_time() - busy)
            rates = ", ".join(f"{way} {arguments.frames / times[-1]:.1f}" for way, times in seconds.items() if times)
            print(f"round {turn}: {rates or 'preparations'}", flush=True)
    for way, times in seconds.items():
        ratios = [alone / own for alone, own in zip(seconds["network"], times, strict=True)]
        print(
            f"{way:<13} {arguments.frames / statistics.median(times):6.1f} frames a second, "
            f"{statistics.median(ratios):.3f} of the network alone (from {min(ratios):.3f} to {max(ratios):.3f}); "
            f"{1000 * statistics.median(work[way]) / arguments.frames:.1f} ms of processor time a frame"
        )


if __name__ == "__main__":
    main()

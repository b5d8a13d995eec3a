"""`atrous predict`: masks and overlays for images and videos: files, folders and globs."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from atrous.cli import console

if TYPE_CHECKING:
    from atrous.collection import InputFile
    from atrous.footage import Progress, VideoSettings
    from atrous.streamed import StreamedSettings

__all__ = ["predict"]

LIVE_SECONDS, QUIET_SECONDS = 0.2, 30.0  # between two lines on a video's progress, on a terminal and elsewhere


def predict(
    model: str,
    /,
    *inputs: str,
    out: Path,
    save: str = "mask,overlay",
    simplify: float = 0,
    min_area: int = 1,
    scales: str = "1",
    flip: Annotated[bool, Parameter(negative="")] = False,
    device: str = "auto",
    engine: str = "auto",
    tile: str = "auto",
    tile_means: Literal["image", "window"] = "image",
    smooth: float = 0.0,
    max_frames: int = 500_000,
    max_minutes: float = 300.0,
) -> int:
    """Segment images and videos; a bad file is reported and the rest go on (exit code 1).

    Of a video NAME.mp4 are written: NAME_overlay.mp4 (overlay; without sound),
    a folder NAME with every frame's mask or polygons, NAME.csv (table: the
    regions of all frames), NAME_frames.csv (time and class shares of every
    frame) and NAME_video.json (flicker and more). Frames are upright and keep
    their times. Videos need: pip install 'atrous[video]'

    Parameters
    ----------
    model:
        A run folder or a .safetensors file.
    inputs:
        Files, folders (with everything below them) or globs.
    out:
        Where results go; the tree of the inputs is mirrored.
    save:
        What to write, with commas: mask (palette PNG), overlay (PNG), polygons (GeoJSON), table (CSV), scores (.npz),
        labelme (JSON); and for all images together coco (JSON), cvat (XML), tags (shares of the classes, CSV).
    simplify:
        Polygons with fewer points, within this many pixels of the exact border, which neighbours go on to share.
    min_area:
        Leave regions of fewer pixels out of polygons and tables.
    scales:
        Sizes at which every image enters, times its own, with commas; the probabilities of all are averaged.
    flip:
        Average with the mirrored image too.
    device:
        auto, cpu, cuda, cuda:N or mps.
    engine:
        auto, torch, plain (the network as it is), onnxruntime or openvino.
    tile:
        auto (images that would take too much memory are computed by windows), off, or the windows' side in pixels.
    tile_means:
        image (windows give the whole image's labels), or window (each is an image of its own, blended with its neighbours).
    smooth:
        Smooth a video's classes over time: half-life in frames of a mean over frames, such as 3; 0 is off.
    max_frames:
        Refuse videos with more frames than this.
    max_minutes:
        Refuse videos that play longer than this.
    """
    from atrous.cli.evaluate import parse_scales
    from atrous.collection import find_images, predict_files
    from atrous.errors import ConfigError
    from atrous.prediction import load
    from atrous.results import Wanted
    from atrous.tiling import parse_tile

    if not inputs:
        raise ConfigError(
            "no INPUT given; expected images, videos, folders or globs: atrous predict MODEL INPUT... --out DIR"
        )
    kinds = tuple(kind.strip() for kind in save.split(",") if kind.strip())
    wanted = Wanted(kinds=kinds, simplify=simplify, min_area=min_area)
    if wanted.ignored():
        console.note(wanted.ignored())
    files = find_images(inputs)
    views = {"scales": parse_scales(scales), "flip": flip}
    video = _video_settings(files, smooth=smooth, max_frames=max_frames, max_minutes=max_minutes)
    loaded = load(model, device=device, engine=engine, tile=parse_tile(tile), tile_means=tile_means)
    done = failed = 0
    for outcome in predict_files(
        loaded, files, out=out, wanted=wanted, video=video, streamed=_streamed_settings(), **views
    ):
        if outcome.error is None:
            done += not outcome.of_all
            if outcome.warning is not None:
                console.note(f"warning: {outcome.warning}")
            for path in outcome.written:
                console.result(str(path))
        else:
            failed += 1
            console.complain(outcome.error)
        if console.is_live():
            console.status(f"{done + failed} of {len(files)} files")
    console.note(f"engine {loaded.engine.name} {loaded.engine.precision}: {loaded.engine.reason}")
    console.note(
        f"{done} {'files' if any(file.is_video for file in files) else 'images'} segmented into {out}"
        + (f", {failed} failed (see {out / 'errors.jsonl'})" if failed else "")
    )
    return 1 if failed else 0


def _video_settings(
    files: "Sequence[InputFile]", *, smooth: float, max_frames: int, max_minutes: float
) -> "VideoSettings":
    """Check the options about videos, and tell which files are some."""
    from atrous.errors import ConfigError
    from atrous.footage import VideoSettings
    from atrous.video import Limits

    if smooth < 0 or max_frames < 1 or not max_minutes > 0:
        raise ConfigError(
            f"--smooth {smooth:g} --max-frames {max_frames} --max-minutes {max_minutes:g}; expected a half-life of 0 (off) "
            "or more frames, at least 1 frame and more than 0 minutes."
        )
    videos = [str(file.path) for file in files if file.is_video]
    if videos:
        shown = ", ".join(videos[:5]) + (", ..." if len(videos) > 5 else "")
        console.note(f"{len(videos)} of {len(files)} inputs are videos: {shown}")
    elif smooth:
        console.note("--smooth is for videos, and there is none among the inputs")
    last = time.monotonic()

    def progress(state: "Progress") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= (LIVE_SECONDS if console.is_live() else QUIET_SECONDS):
            last = now
            console.status(str(state))

    limits = Limits(frames=max_frames, minutes=max_minutes)
    return VideoSettings(smooth=smooth, limits=limits, say=console.note, progress=progress)


def _streamed_settings() -> "StreamedSettings":
    """Tell how far a large image has come, and how long it will still take."""
    from atrous.streamed import StreamedSettings

    last = time.monotonic()
    begins: dict[Path, tuple[float, float]] = {}  # when a file's work began, and its share that was done before

    def progress(path: Path, share: float) -> None:
        nonlocal last
        now = time.monotonic()
        begin, before = begins.setdefault(path, (now, share))
        if now - last >= (LIVE_SECONDS if console.is_live() else QUIET_SECONDS) and share > before:
            last = now
            left = (now - begin) * (1 - share) / (share - before)
            console.status(f"{path}: {share:.0%}, about {left / 60:.1f} minutes left")

    return StreamedSettings(say=console.note, progress=progress)

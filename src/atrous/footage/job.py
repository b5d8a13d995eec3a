"""From a video to what is written of it: decoding ahead of the network, labels, drawing and encoding behind it."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atrous.engines import Coarse, label_map
from atrous.errors import VideoError
from atrous.files import write_atomically
from atrous.footage.motion import STILL_SIDE, STILL_UNITS, Flicker, Motion, Watcher
from atrous.footage.results import KINDS, Results, writing
from atrous.footage.smoothing import Smoothing
from atrous.prediction import Model
from atrous.video import Clip, Frame, Limits, ahead, behind, open_video

__all__ = ["Progress", "VideoSettings", "segment_video"]

FORMAT_VERSION = 1
DEFINITION = (
    "share of still pixels whose label changes from one frame to the next; still: the grey image changes by less than "
    f"{STILL_UNITS:g} of 255, as a mean over {STILL_SIDE} x {STILL_SIDE} pixels"
)


@dataclass(frozen=True)
class Progress:
    """How far a video is: frames done, frames that its header promises (None: unknown), seconds since the first."""

    path: Path
    done: int
    expected: int | None
    seconds: float

    def __str__(self) -> str:
        rate = self.done / self.seconds if self.seconds else 0.0
        text = f"{self.path.name}: {self.done}"
        if self.expected is not None and self.expected >= self.done:
            left = (self.expected - self.done) / rate if rate else 0.0
            return f"{text} of {self.expected} frames, {rate:.1f} a second, {_clock(left)} left"
        return f"{text} frames, {rate:.1f} a second"


@dataclass(frozen=True, kw_only=True)
class VideoSettings:
    """How videos are segmented."""

    smooth: float = 0.0
    """Half-life of the mean over frames, in frames; 0 takes every frame for itself."""
    limits: Limits = field(default_factory=Limits)
    say: Callable[[str], None] = lambda text: None
    """Hears what was decided, met and measured, a line at a time."""
    progress: Callable[[Progress], None] = lambda progress: None
    """Hears of every frame."""


@dataclass(frozen=True)
class _Seen:
    """A frame on its way from the network to the results."""

    frame: Frame
    motion: Motion | None
    views: tuple[Coarse, ...]
    smoothed: tuple[Coarse, ...] | None


class _Recorder:
    """The thread behind the network: labels, flicker, results."""

    def __init__(self, results: Results, size: tuple[int, int]) -> None:
        self.flicker, self.without = Flicker(), Flicker()
        self._results, self._size = results, size

    def use(self, seen: _Seen) -> None:
        """Write a frame, and measure it, where it is smoothed also without."""
        labels = label_map(seen.smoothed or seen.views, self._size)
        self.flicker.see(labels, seen.motion)
        if seen.smoothed is not None:
            self.without.see(label_map(seen.views, self._size), seen.motion)
        self._results.write(seen.frame, labels)


def segment_video(
    model: Model,
    path: Path,
    target: Path,
    *,
    save: Sequence[str] = ("mask", "overlay"),
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    settings: VideoSettings | None = None,
) -> tuple[Path, ...]:
    """Segment a video frame by frame and write what `save` names (see `results.writing`) and `TARGET_video.json`.

    Frames go through the network one by one and in order, each as `Model.predict` takes an image. Everything appears
    when the last frame is done, or not at all. `scales` and `flip` are as for `Model.predict`.

    Returns:
        The files and the folder that were written.

    Raises:
        ConfigError: a half-life that is not above 0, or a scale out of range.
        VideoError: a file that is not a readable video, exceeds the limits, or nothing of `save` is made of videos.
        OutputError: results cannot be written.
        MissingExtraError: PyAV is not installed.
    """
    settings = settings or VideoSettings()
    smoothing = Smoothing(settings.smooth) if settings.smooth else None
    _check_kinds(path, save, settings.say)
    cuts = frames = 0
    with open_video(path, limits=settings.limits) as clip:
        told = _tell(clip, clip.notes, settings.say)
        with ExitStack() as stack:
            results = stack.enter_context(writing(target, clip, model.labels, save))
            recorder = _Recorder(results, clip.size)
            hand_over = stack.enter_context(behind(recorder.use))
            watched = stack.enter_context(ahead(_watched(clip)))
            begin = time.perf_counter()
            for frame, motion in watched:
                views = model.views(frame.pixels, scales=scales, flip=flip)
                is_cut = motion is not None and motion.is_cut
                cuts += is_cut
                if smoothing is not None and is_cut:
                    smoothing.restart()
                hand_over(_Seen(frame, motion, views, smoothing.smooth(views) if smoothing else None))
                frames += 1
                settings.progress(Progress(path, frames, clip.expected, time.perf_counter() - begin))
        seconds = time.perf_counter() - begin
        _tell(clip, clip.notes[told:], settings.say)
    facts = _facts(clip, recorder, frames=frames, seconds=seconds, cuts=cuts, smooth=settings.smooth)
    facts["engine"], facts["precision"] = model.engine.name, model.engine.precision
    summary = target.with_name(f"{target.name}_video.json")
    write_atomically(summary, (json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
    settings.say(_summary(path, facts))
    return (*results.paths, summary)


def _watched(clip: Clip) -> Iterator[tuple[Frame, Motion | None]]:
    watcher = Watcher()
    for frame in clip:
        yield frame, watcher.see(frame.pixels)


def _check_kinds(path: Path, save: Sequence[str], say: Callable[[str], None]) -> None:
    others = [kind for kind in save if kind not in KINDS]
    if len(others) == len(save):
        raise VideoError(
            f"{path}: --save {','.join(save)} is not made of videos; expected some of {', '.join(KINDS)}. "
            "Leave the video out, or save another kind too."
        )
    if others:
        say(f"{path}: {', '.join(others)} is not made of videos and is left out")


def _tell(clip: Clip, notes: Sequence[str], say: Callable[[str], None]) -> int:
    for note in notes:
        say(f"{clip.path}: {note}")
    return len(clip.notes)


def _facts(clip: Clip, recorder: _Recorder, *, frames: int, seconds: float, cuts: int, smooth: float) -> dict[str, Any]:
    flicker: dict[str, Any] = {"definition": DEFINITION, "share": _rounded(recorder.flicker.share)}
    if smooth:
        flicker["share_without_smoothing"] = _rounded(recorder.without.share)
    flicker["still_pixels"] = recorder.flicker.still_pixels
    return {
        "format_version": FORMAT_VERSION,
        "video": clip.path.name,
        "frames": frames,
        "size": list(clip.size),
        "container": clip.container,
        "codec": clip.codec,
        "colours": clip.colours,
        "time_base": str(clip.clock.time_base),
        "whole": not clip.ended_early,
        "cuts": cuts,
        "smooth_half_life_frames": smooth or None,
        "flicker": flicker,
        "frames_per_second": round(frames / seconds, 3),
        "notes": clip.notes,
    }


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


def _summary(path: Path, facts: dict[str, Any]) -> str:
    flicker = facts["flicker"]
    text = f"{path}: {facts['frames']} frames, {facts['frames_per_second']:.1f} a second"
    text += f"; flicker {_percent(flicker['share'])}"
    if "share_without_smoothing" in flicker:
        text += f", without smoothing {_percent(flicker['share_without_smoothing'])}"
    return f"{text} (still pixels whose label changes)"


def _percent(share: float | None) -> str:
    return "unknown, as nothing is still" if share is None else f"{share:.2%}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

"""Videos in: frames as upright RGB with their exact times, and what was met on the way."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import VideoError
from atrous.video.opening import (
    Limits,
    check_limits,
    first_stream,
    most_padded,
    open_container,
    promised_frames,
    promised_seconds,
    refused,
    words_of,
)
from atrous.video.package import pyav
from atrous.video.pictures import Pictures
from atrous.video.timing import Clock

__all__ = ["Clip", "Frame", "Limits", "expected_frames", "open_video"]

MOST_THREADS = 4  # of the decoder
PACKETS_PER_FRAME = 4
"""Packets that are read at most for every frame that may be: a small file can claim billions of empty ones."""
WHOLE, SLACK_SECONDS = 0.9, 0.5
"""A clip is whole with this share of what its header promises: sound may be longer, edits may cut frames off."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: its number from 0, its time in seconds as the file states it, and `pixels` (H, W, 3) uint8 RGB, upright.

    `duration` is how long it is shown, seconds; None where that is not stated.
    """

    number: int
    time: Fraction
    duration: Fraction | None
    pixels: NDArray[np.uint8]


class Clip:
    """An open video; iterate over it once. After that `notes` says what was met on the way."""

    def __init__(self, path: Path, container: Any, stream: Any, limits: Limits) -> None:
        self.path = path
        self.container: str = container.format.name
        self.codec: str = stream.codec_context.name
        self.expected = promised_frames(container, stream)
        """Frames, as far as the header tells."""
        self.notes: list[str] = []
        self.ended_early = False
        self._container, self._stream, self._limits = container, stream, limits
        self._packets = self._bad_packets = self._damaged = self._resized = 0
        self.clock = Clock(stream.time_base, stream.guessed_rate or stream.average_rate)
        decoded = self._decoded()
        first = next(decoded, None)
        if first is None:
            raise VideoError(
                f"{path}: no frame could be decoded{_because(self.notes)}; expected a whole video. "
                "Restore it from its source, or check that it plays."
            )
        self._frames = chain((first,), decoded)
        self._pictures = Pictures(first, pyav().video.reformatter.VideoReformatter())
        self._coded = (first.width, first.height)
        self.notes += self._pictures.notes
        self.size = self._pictures.size
        """Height and width of the upright frames, pixels."""
        self.colours = self._pictures.colours
        self.aspect = _aspect(stream, turned=self._pictures.matrix.a == 0)
        """Width by height of one pixel."""

    def __iter__(self) -> Iterator[Frame]:
        try:
            yield from self._read()
        except MemoryError as error:
            raise _too_large(self.path) from error

    def _read(self) -> Iterator[Frame]:
        first: Fraction | None = None
        time = end = Fraction(0)
        number = -1
        for number, decoded in enumerate(self._frames):
            time, duration = self.clock.read(decoded)
            first = time if first is None else first
            end = time + (duration or 0) - first
            if number >= self._limits.frames:
                self._end(f"it has more than {self._limits.frames} frames", "--max-frames")
                break
            if time - first > Fraction(self._limits.minutes) * 60:
                self._end(f"it plays longer than {self._limits.minutes:g} minutes", "--max-minutes")
                break
            self._damaged += decoded.is_corrupt
            self._resized += (decoded.width, decoded.height) != self._coded
            yield Frame(number, time, duration, self._rgb(number, decoded))
        else:
            self._compare_with_header(number + 1, float(end))
        self._conclude()

    def _rgb(self, number: int, decoded: Any) -> NDArray[np.uint8]:
        try:
            return self._pictures.rgb(decoded)
        except MemoryError:
            raise
        except Exception as error:  # a pixel format that nothing converts
            found = f"frame {number} ({decoded.format.name}) cannot be made RGB ({words_of(error)})"
            raise refused(self.path, found, "a usual pixel format", "Convert it: ffmpeg -i INPUT OUTPUT.mp4") from error

    def _decoded(self) -> Iterator[Any]:
        """Frames as FFmpeg gives them. Packets that cannot be decoded are left out; a file that breaks off ends there."""
        packets = self._container.demux(self._stream)
        most = PACKETS_PER_FRAME * self._limits.frames + 1000
        while self._packets < most:
            try:
                packet = next(packets, None)
            except Exception as error:  # FFmpeg's own tree of errors, and what Python makes of damaged text
                self._broken(f"the file cannot be read further ({words_of(error)})")
                return
            if packet is None:
                return
            self._packets += 1
            try:
                frames = packet.decode()
            except Exception as error:
                self._bad_packets += packet.size > 0  # the empty one at the end only asks for the rest
                if self._bad_packets == 1:
                    self.notes.append(f"the first packet that cannot be decoded: {words_of(error)}")
                continue
            yield from frames
        self._broken(f"it has more than {most} packets")

    def _broken(self, reason: str) -> None:
        self.ended_early = True
        self.notes.append(f"{reason}: it ends there with what was read")

    def _end(self, reason: str, option: str) -> None:
        self.ended_early = True
        self.notes.append(f"{reason}, and the rest is left out; {option} takes more")

    def _compare_with_header(self, frames: int, seconds: float) -> None:
        """Readers that lose their way in a damaged file end without a word."""
        promised = promised_seconds(self._container, self._stream)
        if self._stream.frames > 0:
            is_short, promise = frames < WHOLE * self._stream.frames, f"{self._stream.frames} frames"
        else:
            is_short = promised is not None and seconds < WHOLE * promised - SLACK_SECONDS
            promise = f"{promised or 0:.1f} seconds"
        if is_short and not self.ended_early:
            self.ended_early = True
            self.notes.append(
                f"{frames} frames, {seconds:.1f} seconds, could be read, where its header promises {promise}"
            )

    def _conclude(self) -> None:
        for count, text in (
            (self._bad_packets, "packets could not be decoded and were left out"),
            (self._damaged, "frames are damaged and were taken as the decoder mended them"),
            (self._resized, "frames have another size than the first one and were scaled to it"),
            (self.clock.mended, "frames had no time of their own, or not a later one, and follow the one before"),
        ):
            if count:
                self.notes.append(f"{count} {text}")


@contextmanager
def open_video(path: Path, *, limits: Limits | None = None) -> Iterator[Clip]:
    """Open a video file: the first frame is decoded, the others when the clip is iterated over.

    Only mp4, mov, mkv, webm, avi and MPEG-TS files are opened, by their first bytes; other files that they may name are
    not. The display matrix is applied, sound is not read. Of several video streams the first is taken.

    Raises:
        VideoError: a file that does not exist or is none of these, has no video stream or no frame, is longer than
            `limits`, or has larger frames.
        MissingExtraError: PyAV is not installed.
    """
    limits = limits or Limits()
    with ExitStack() as stack:
        container = open_container(path, limits, stack)
        stream, notes = first_stream(path, container)
        stream.thread_type = "SLICE"  # frames that are decoded side by side tell their faults late, or not at all
        stream.thread_count = MOST_THREADS
        stream.codec_context.options = {"max_pixels": str(most_padded(limits))}
        check_limits(path, container, stream, limits)
        try:
            clip = Clip(path, container, stream, limits)
        except MemoryError as error:
            raise _too_large(path) from error
        clip.notes[:0] = notes
        yield clip


def expected_frames(path: Path) -> int:
    """How many frames a video's header promises; 1 where it tells nothing or cannot be read.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    try:
        with ExitStack() as stack:
            container = open_container(path, Limits(), stack)
            return promised_frames(container, first_stream(path, container)[0]) or 1
    except VideoError:
        return 1


def _aspect(stream: Any, *, turned: bool) -> Fraction:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, 10) <= aspect <= 10:  # nonsense
        return Fraction(1)
    return 1 / aspect if turned else aspect


def _too_large(path: Path) -> VideoError:
    return refused(path, "too large for this machine's memory", "smaller frames", "Scale it down.")


def _because(notes: list[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""

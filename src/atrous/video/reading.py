"""Videos in: frames as upright RGB with their exact times, of files that are hostile until read."""

import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from atrous.errors import VideoError
from atrous.images import MAX_PIXELS
from atrous.video.containers import CONTAINERS, HEAD_BYTES, container_of
from atrous.video.package import pyav
from atrous.video.pictures import Pictures
from atrous.video.timing import Clock

__all__ = ["Clip", "Frame", "Limits", "expected_frames", "open_video"]

CODECS = (
    "h264 hevc libdav1d av1 vp8 vp9 libvpx libvpx-vp9 mpeg4 msmpeg4 msmpeg4v2 h263 mpeg1video mpeg2video "
    "mjpeg prores dnxhd dvvideo vc1 wmv3 theora ffv1 huffyuv ffvhuff utvideo rawvideo png qtrle cinepak"
)
"""The decoders that are used, FFmpeg's names: what cameras, phones, editors and recorders write. FFmpeg has some 250, and
most of its weaknesses were in the rare ones."""
PATIENCE_SECONDS = 30.0  # for the header; reading a local file takes milliseconds
BUFFER_BYTES = 1 << 20
MOST_THREADS = 4  # more hold more frames in memory, and a network is slower than this
PACKETS_PER_FRAME = 4
"""Packets that are read at most for every frame that may be: a small file can claim billions of empty ones."""
WHOLE, SLACK_SECONDS = 0.9, 0.5
"""A clip is whole with this share of what its header promises: sound may be longer, edits may cut frames off."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a video may have at most: more is refused where the header tells, else reading ends there."""

    frames: int = 500_000
    """4.6 hours at 30 frames a second."""
    minutes: float = 300.0
    """Of playing time."""
    pixels: int = MAX_PIXELS
    """Of one frame, as for images."""


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
        self.expected = _expected(container, stream)
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
            yield Frame(number, time, duration, self._pictures.rgb(decoded))
        else:
            self._compare_with_header(number + 1, float(end))
        self._conclude()

    def _decoded(self) -> Iterator[Any]:
        """Frames as FFmpeg gives them. Packets that cannot be decoded are left out; a file that breaks off ends there."""
        packets = self._container.demux(self._stream)
        most = PACKETS_PER_FRAME * self._limits.frames + 1000
        while self._packets < most:
            try:
                packet = next(packets, None)
            except MemoryError:
                raise
            except Exception as error:  # FFmpeg's own tree of errors, and what Python makes of damaged text
                self._broken(f"the file cannot be read further ({_words(error)})")
                return
            if packet is None:
                return
            self._packets += 1
            try:
                frames = packet.decode()
            except MemoryError:
                raise
            except Exception as error:
                self._bad_packets += packet.size > 0  # the empty one at the end only asks for the rest
                if self._bad_packets == 1:
                    self.notes.append(f"the first packet that cannot be decoded: {_words(error)}")
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
        promised = _seconds(self._container, self._stream)
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
        container = _opened(path, limits, stack)
        stream, notes = _stream_of(path, container)
        stream.thread_type = "AUTO"
        stream.thread_count = MOST_THREADS
        stream.codec_context.options = {"max_pixels": str(_most_padded(limits))}
        _check_limits(path, container, stream, limits)
        try:
            clip = Clip(path, container, stream, limits)
        except MemoryError as error:
            raise _refused(path, "too large for this machine's memory", "smaller frames", "Scale it down.") from error
        clip.notes[:0] = notes
        yield clip


def expected_frames(path: Path) -> int:
    """How many frames a video's header promises; 1 where it tells nothing or cannot be read.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    try:
        with ExitStack() as stack:
            container = _opened(path, Limits(), stack)
            return _expected(container, _stream_of(path, container)[0]) or 1
    except VideoError:
        return 1


def _opened(path: Path, limits: Limits, stack: ExitStack) -> Any:
    """The container; what goes wrong is a VideoError."""
    av = pyav()
    file = stack.enter_context(_regular_file(path))
    head = file.read(HEAD_BYTES)
    name = container_of(head)
    if name is None:
        playlist = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(
            (b"#EXTM3U", b"ffconcat", b"<MPD", b"<?xml", b"[playlist")
        )
        found = "a list of other files, not a video" if playlist else "not a video, or its beginning is damaged"
        raise _refused(path, found, CONTAINERS, "Convert it: ffmpeg -i INPUT -c copy OUTPUT.mkv")
    file.seek(0)
    options = {
        "format_whitelist": name,
        "codec_whitelist": CODECS.replace(" ", ","),
        "protocol_whitelist": "none",  # there is none of that name
        "max_pixels": str(_most_padded(limits)),
    }
    try:
        return stack.enter_context(
            av.open(
                file,
                "r",
                format=name,
                options=options,
                metadata_errors="replace",
                buffer_size=BUFFER_BYTES,
                timeout=PATIENCE_SECONDS,
                io_open=_refuse_to_open,
            )
        )
    except Exception as error:
        raise _refused(
            path, f"damaged or truncated ({_words(error)})", f"a whole {name} file", "Restore it from its source."
        ) from error


def _regular_file(path: Path) -> BinaryIO:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise _refused(path, found, "a video file", "Name a file, or copy its content into one.")
        if status.st_size == 0:
            raise _refused(path, "an empty file (0 bytes)", "a video", "Restore it from its source.")
        return path.open("rb")
    except (OSError, ValueError) as error:
        found = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be opened: {_words(error)}"
        raise _refused(path, found, "a video file", "Check the path and its permissions.") from error


def _refuse_to_open(url: str, flags: int, options: object) -> None:
    """What FFmpeg asks for when a file names another one."""
    raise PermissionError(f"{url} is not opened: a video must not name other files")


def _stream_of(path: Path, container: Any) -> tuple[Any, list[str]]:
    """The first video stream that is no cover picture, and what to tell."""
    disposition = pyav().stream.Disposition
    videos = [stream for stream in container.streams.video if not stream.disposition & disposition.attached_pic]
    if not videos:
        kinds = sorted({str(stream.type) for stream in container.streams}) or ["nothing"]
        covers = " (a cover picture)" if container.streams.video else ""
        raise _refused(path, f"no video in it, only {', '.join(kinds)}{covers}", "a video stream", "Check the file.")
    stream = videos[0]
    known = stream.codec_context is not None
    if not known or stream.codec_context.name not in CODECS.split():
        codec = stream.codec_context.name if known else "unknown"
        raise _refused(
            path, f"video of the codec {codec}, which is not read", "h264, hevc, av1, vp9, mpeg4 or another common one",
            "Convert it: ffmpeg -i INPUT OUTPUT.mp4",
        )  # fmt: skip
    notes = [f"it has {len(videos)} video streams; the first is taken"] if len(videos) > 1 else []
    return stream, notes


def _check_limits(path: Path, container: Any, stream: Any, limits: Limits) -> None:
    """Refuse what the header says is too much, before anything is decoded."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.pixels:
        found = f"frames of {height} x {width} pixels (height x width), {width * height / 1e6:.0f} million"
        raise _refused(path, found, f"at most {limits.pixels / 1e6:.3g} million", "Scale it down.")
    frames, seconds = _expected(container, stream), _seconds(container, stream)
    if frames is not None and frames > limits.frames:
        raise _refused(
            path, f"{frames} frames by its header", f"at most {limits.frames}", f"--max-frames {frames} takes all."
        )
    if seconds is not None and seconds > limits.minutes * 60:
        minutes = int(seconds / 60) + 1
        raise _refused(
            path,
            f"{seconds / 60:.0f} minutes by its header",
            f"at most {limits.minutes:g}",
            f"--max-minutes {minutes} takes all.",
        )


def _seconds(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None  # FFmpeg counts in microseconds here


def _expected(container: Any, stream: Any) -> int | None:
    if stream.frames > 0:
        return stream.frames
    seconds, rate = _seconds(container, stream), stream.average_rate or stream.guessed_rate
    return round(seconds * rate) or None if seconds and rate else None


def _most_padded(limits: Limits) -> int:
    """The decoders' own bound, which counts the margins that they work with; frames are checked exactly besides."""
    return 2 * limits.pixels + (1 << 20)


def _aspect(stream: Any, *, turned: bool) -> Fraction:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, 10) <= aspect <= 10:  # nonsense
        return Fraction(1)
    return 1 / aspect if turned else aspect


def _words(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:160]


def _because(notes: list[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""


def _refused(path: Path, found: str, expected: str, fix: str) -> VideoError:
    return VideoError(f"{path}: {found}; expected {expected}. {fix}")

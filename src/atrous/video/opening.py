"""Opening a video that is hostile until read: which reader, which decoders, no other file, and no more than the limits."""

import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from atrous.errors import VideoError
from atrous.images import MAX_PIXELS
from atrous.video.containers import CONTAINERS, HEAD_BYTES, container_of
from atrous.video.package import pyav

__all__ = [
    "Limits",
    "check_limits",
    "first_stream",
    "most_padded",
    "open_container",
    "promised_frames",
    "promised_seconds",
    "refused",
    "words_of",
]

CODECS = (
    "h264 hevc libdav1d av1 vp8 vp9 libvpx libvpx-vp9 mpeg4 msmpeg4 msmpeg4v2 h263 mpeg1video mpeg2video "
    "mjpeg prores dnxhd dvvideo vc1 wmv3 theora ffv1 huffyuv ffvhuff utvideo rawvideo png qtrle cinepak"
)
"""The decoders that are used, FFmpeg's names: what cameras, phones, editors and recorders write. FFmpeg has some 250, and
most of its weaknesses were in the rare ones."""
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"<?xml", b"[playlist")
PATIENCE_SECONDS = 30.0  # for the header; reading a local file takes milliseconds
BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a video may have at most: more is refused where the header tells, else reading ends there."""

    frames: int = 500_000
    """4.6 hours at 30 frames a second."""
    minutes: float = 300.0
    """Of playing time."""
    pixels: int = MAX_PIXELS
    """Of one frame, as for images."""


def open_container(path: Path, limits: Limits, stack: ExitStack) -> Any:
    """The container; what goes wrong is a VideoError."""
    av = pyav()
    file = stack.enter_context(_regular_file(path))
    head = file.read(HEAD_BYTES)
    name = container_of(head)
    if name is None:
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLISTS):
            raise refused(path, "a list of other files, not a video", CONTAINERS, "Name the video itself.")
        found = "not a video, or its beginning is damaged"
        raise refused(path, found, CONTAINERS, "Convert it: ffmpeg -i INPUT -c copy OUTPUT.mkv")
    file.seek(0)
    options = {
        "format_whitelist": name,
        "codec_whitelist": CODECS.replace(" ", ","),
        "protocol_whitelist": "none",  # there is none of that name
        "max_pixels": str(most_padded(limits)),
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
        raise refused(
            path, f"damaged or truncated ({words_of(error)})", f"a whole {name} file", "Restore it from its source."
        ) from error


def _regular_file(path: Path) -> BinaryIO:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            found = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise refused(path, found, "a video file", "Name a file, or copy its content into one.")
        if status.st_size == 0:
            raise refused(path, "an empty file (0 bytes)", "a video", "Restore it from its source.")
        return path.open("rb")
    except (OSError, ValueError) as error:
        found = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be opened: {words_of(error)}"
        raise refused(path, found, "a video file", "Check the path and its permissions.") from error


def _refuse_to_open(url: str, flags: int, options: object) -> None:
    """What FFmpeg asks for when a file names another one."""
    raise PermissionError(f"{url} is not opened: a video must not name other files")


def first_stream(path: Path, container: Any) -> tuple[Any, list[str]]:
    """The first video stream that is no cover picture, and what to tell."""
    disposition = pyav().stream.Disposition
    videos = [stream for stream in container.streams.video if not stream.disposition & disposition.attached_pic]
    if not videos:
        kinds = sorted({str(stream.type) for stream in container.streams}) or ["nothing"]
        covers = " (a cover picture)" if container.streams.video else ""
        raise refused(path, f"no video in it, only {', '.join(kinds)}{covers}", "a video stream", "Check the file.")
    stream = videos[0]
    known = stream.codec_context is not None
    if not known or stream.codec_context.name not in CODECS.split():
        codec = stream.codec_context.name if known else "unknown"
        raise refused(
            path, f"video of the codec {codec}, which is not read", "h264, hevc, av1, vp9, mpeg4 or another common one",
            "Convert it: ffmpeg -i INPUT OUTPUT.mp4",
        )  # fmt: skip
    notes = [f"it has {len(videos)} video streams; the first is taken"] if len(videos) > 1 else []
    return stream, notes


def check_limits(path: Path, container: Any, stream: Any, limits: Limits) -> None:
    """Refuse what the header says is too much, before anything is decoded."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.pixels:
        found = f"frames of {height} x {width} pixels (height x width), {width * height / 1e6:.0f} million"
        raise refused(path, found, f"at most {limits.pixels / 1e6:.3g} million", "Scale it down.")
    frames, seconds = promised_frames(container, stream), promised_seconds(container, stream)
    if frames is not None and frames > limits.frames:
        raise refused(
            path, f"{frames} frames by its header", f"at most {limits.frames}", f"--max-frames {frames} takes all."
        )
    if seconds is not None and seconds > limits.minutes * 60:
        minutes = int(seconds / 60) + 1
        raise refused(
            path,
            f"{seconds / 60:.0f} minutes by its header",
            f"at most {limits.minutes:g}",
            f"--max-minutes {minutes} takes all.",
        )


def promised_seconds(container: Any, stream: Any) -> float | None:
    """How long the header says that it plays; None where it says nothing."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None  # FFmpeg counts in microseconds here


def promised_frames(container: Any, stream: Any) -> int | None:
    """How many frames the header says, or its length and rate; None where it says nothing."""
    if stream.frames > 0:
        return stream.frames
    seconds, rate = promised_seconds(container, stream), stream.average_rate or stream.guessed_rate
    return round(seconds * rate) or None if seconds and rate else None


def most_padded(limits: Limits) -> int:
    """The decoders' own bound, which counts the margins that they work with; frames are checked exactly besides."""
    return 2 * limits.pixels + (1 << 20)


def words_of(error: Exception) -> str:
    """An error in one short line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:160]


def refused(path: Path, found: str, expected: str, fix: str) -> VideoError:
    """The error about a file, of its three parts."""
    return VideoError(f"{path}: {found}; expected {expected}. {fix}")

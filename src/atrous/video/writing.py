"""Videos out: H.264 in MP4 with the times that its frames came with."""

from collections import deque
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import OutputError
from atrous.files import output_error, replacing
from atrous.video.package import pyav

__all__ = ["LATEST_START", "VideoWriter"]

ENCODERS = {
    "libx264": {"crf": "22", "preset": "ultrafast", "bf": "0"},
    "mpeg4": {"flags": "+qscale", "global_quality": str(3 * 118), "bf": "0"},  # step 3 of 2 to 31, times FF_QP2LAMBDA
}
"""Encoders, the best first, of about the same quality. Without frames that refer to later ones (bf), packets leave in the
order of their times. A slower preset makes files a quarter smaller, and takes three times as long from the network."""
LATEST_START = 86_400  # seconds; recordings with the time of day keep it, those with the date begin at 0
_BT709, _LIMITED, _SWS_BT709 = 1, 1, 1  # H.273 table 4, FFmpeg's AVCOL_RANGE_MPEG, swscale's SWS_CS_ITU709
_BILINEAR, _FULL_CHROMA, _ACCURATE = 0x2, 0x4000, 0x40000


class VideoWriter:
    """Writes frames to an MP4 file that appears under its name when the body of the `with` statement has ended well.

    The pixel format is yuv420p in BT.709, which everything plays; odd sizes get one more row or column, a copy of the last
    one. Nothing of the source's metadata (place, device) is in the file.

    Args:
        path: where to; its suffix must be .mp4.
        size: height and width of the frames, pixels.
        time_base: the unit of the times, seconds: that of the source, so that a variable rate stays as it was.
        aspect: width by height of one pixel.

    Raises:
        OutputError: it cannot be written or encoded.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], *, time_base: Fraction, aspect: Fraction = Fraction(1)
    ) -> None:
        self.path, self.size, self.time_base = path, size, time_base
        self._av: Any = pyav()
        self._stack = ExitStack()
        self._even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        self._aspect = aspect
        self._reformatter: Any = self._av.video.reformatter.VideoReformatter()
        self._times: deque[tuple[int, int]] = (
            deque()
        )  # of frames that the encoder still has: time and duration in ticks
        self._count = 0
        self._shift: int | None = None
        self._last = -1
        self.codec = _encoder(self._av)

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            file = stack.enter_context(temporary.open("wb", buffering=1 << 20))
            # The start time is kept to 1/timescale of the movie, by default a thousandth of a second.
            options = {"movie_timescale": str(self.time_base.denominator)}
            self._container = stack.enter_context(self._av.open(file, "w", format="mp4", options=options))
            self._stream = self._add_stream()
            self._stack = stack.pop_all()
        return self

    def write(self, pixels: NDArray[np.uint8], time: Fraction, duration: Fraction | None = None) -> None:
        """Append a frame (H, W, 3) uint8 RGB, shown at `time` seconds; times must rise.

        Raises:
            ValueError: another size.
            OutputError: a full disk, or an encoder that fails.
        """
        if pixels.shape != (*self.size, 3):
            raise ValueError(f"a frame is of shape {pixels.shape}; expected {(*self.size, 3)}")
        added = self._even[0] - self.size[0], self._even[1] - self.size[1]
        if any(added):
            pixels = np.pad(pixels, ((0, added[0]), (0, added[1]), (0, 0)), mode="edge")
        frame = self._reformatter.reformat(
            self._av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(pixels), format="rgb24"),
            format="yuv420p",
            dst_colorspace=_SWS_BT709,
            dst_color_range=_LIMITED,
            interpolation=_BILINEAR | _FULL_CHROMA | _ACCURATE,
            threads=1,
        )
        frame.pts, frame.time_base = self._count, Fraction(1, 30)
        self._count += 1
        self._times.append((self._ticks(time), self._in_ticks(duration or Fraction(0))))
        self._mux(frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._count:
                self._mux(None)
        except BaseException as failure:
            self._close(type(failure), failure, failure.__traceback__)
            raise
        self._close(kind, error, trace)

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, trace)
        except OSError as failure:
            if kind is None:
                raise output_error(self.path, failure) from failure

    def _add_stream(self) -> Any:
        stream = self._container.add_stream(self.codec, rate=30, options=ENCODERS[self.codec])
        stream.height, stream.width = self._even
        stream.pix_fmt = "yuv420p"
        stream.time_base = self.time_base
        context = stream.codec_context
        context.time_base = Fraction(1, 30)  # frames are counted; their times are set on the packets
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        context.sample_aspect_ratio = self._aspect
        return stream

    def _ticks(self, time: Fraction) -> int:
        """The time in units of the time base, later than the last one's."""
        if self._shift is None:
            kept = 0 <= time <= LATEST_START
            self._shift = 0 if kept else -self._in_ticks(time)
        self._last = max(self._in_ticks(time) + self._shift, self._last + 1)
        return self._last

    def _in_ticks(self, time: Fraction) -> int:
        return round(time / self.time_base)

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                packet.pts, duration = self._times.popleft()
                packet.dts = packet.pts
                packet.duration = duration
                packet.time_base = self.time_base
                self._container.mux(packet)
        except self._av.FFmpegError as error:
            if isinstance(error, OSError) and error.errno:
                raise output_error(self.path, error) from error
            raise OutputError(
                f"{self.path} was not written: the encoder {self.codec} failed ({error.strerror}) on frames of "
                f"{self._even[0]} x {self._even[1]} pixels. Leave `overlay` out of --save, or scale the video down."
            ) from error
        except OSError as error:
            raise output_error(self.path, error) from error


def _encoder(av: Any) -> str:
    for name in ENCODERS:
        try:
            av.codec.Codec(name, "w")
        except Exception:  # another build of FFmpeg
            continue
        return name
    raise OutputError("this PyAV can write neither H.264 nor MPEG-4; expected libx264 in it. Run: pip install -U av")

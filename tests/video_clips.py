"""Small clips, written with PyAV itself, so that reading is not tested against our own writing."""

from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV (the extra `video`) is not installed")

COLOURS = [(200, 30, 40), (30, 180, 60), (40, 50, 210), (128, 128, 128), (250, 240, 10), (10, 10, 10)]
FILM = Fraction(1001, 30_000)  # seconds a frame, 29.97 a second
TICK = Fraction(1, 30_000)
UNEVEN = [Fraction(ticks, 30_000) for ticks in (0, 1001, 2002, 5005, 5506, 8008, 9009, 12012, 19019, 20020)]


def bars(number=0, size=(48, 96)):
    """Upright bars of six colours that move on by one with every call's number, (H, W, 3) uint8."""
    height, width = size
    places = (np.arange(width) * len(COLOURS) // width + number) % len(COLOURS)
    return np.broadcast_to(np.array(COLOURS, np.uint8)[places], (height, width, 3)).copy()


def middles(pixels, axis=1):
    """The colours in the middle of six equal parts along an axis, int."""
    length = pixels.shape[axis]
    across = pixels.shape[1 - axis] // 2
    at = [int((part + 0.5) * length / 6) for part in range(6)]
    return (pixels[across, at] if axis == 1 else pixels[at, across]).astype(int)


def still_bars(count, size=(48, 96)):
    return [bars(0, size)] * count


def write_clip(
    path,
    frames,
    *,
    times=None,
    time_base=TICK,
    codec="libx264",
    turn=None,
    matrix=None,
    colourspace=1,
    sound=False,
    streams=1,
    aspect=None,
    container=None,
    metadata=(),
):
    """Frames (H, W, 3) RGB at `times` (seconds). `colourspace` 1 is BT.709, 5 BT.601, 2 unstated (then BT.601 is meant)."""
    times = times or [number * FILM for number in range(len(frames))]
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=container) as output:
        output.metadata.update(metadata)
        made = []
        for _ in range(streams):
            stream = output.add_stream(codec, rate=30)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.time_base = stream.codec_context.time_base = time_base
            if codec == "libx264":
                stream.codec_context.options = {"crf": "8", "preset": "veryfast"}
            stream.codec_context.colorspace, stream.codec_context.color_range = colourspace, 1
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if turn is not None:
                stream.set_display_rotation(turn)
            if matrix is not None:
                stream.set_display_matrix(matrix)
            made.append(stream)
        voice = output.add_stream("aac", rate=44_100, layout="mono") if sound else None
        for stream in made:
            for pixels, time in zip(frames, times, strict=True):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                space = 1 if colourspace == 1 else 5
                frame = frame.reformat(format="yuv420p", dst_colorspace=space, dst_color_range=1)
                frame.pts, frame.time_base = int(time / time_base), time_base
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        if voice is not None:
            for number in range(20):
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                samples.sample_rate, samples.pts = 44_100, number * 1024
                output.mux(voice.encode(samples))
            output.mux(voice.encode(None))
    return path


def write_sound(path):
    with av.open(str(path), "w") as output:
        voice = output.add_stream("aac", rate=44_100, layout="mono")
        for number in range(20):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 44_100, number * 1024
            output.mux(voice.encode(samples))
        output.mux(voice.encode(None))
    return path


def read_plain(path):
    """Frames as PyAV gives them: a list of (time, RGB), for what our writer wrote."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]

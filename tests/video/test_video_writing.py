"""What our writer writes, read back with PyAV alone."""

import errno
import os
import resource
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.errors import OutputError
from atrous.video import VideoWriter, open_video, writing
from video_clips import COLOURS, FILM, TICK, UNEVEN, av, bars, middles, read_plain, still_bars

NEAR = 8  # units that a colour loses on its way through yuv420p and the encoder


def write(path, frames, times, *, time_base=TICK, **options):
    with VideoWriter(path, frames[0].shape[:2], time_base=time_base, **options) as writer:
        for pixels, time in zip(frames, times, strict=True):
            writer.write(pixels, time, FILM)
    return path


@pytest.fixture(params=list(writing.ENCODERS))
def encoder(request, monkeypatch):
    monkeypatch.setattr(writing, "ENCODERS", {request.param: writing.ENCODERS[request.param]})
    return request.param


def test_frames_times_and_colours_come_back(tmp_path, encoder):
    frames = [bars(number) for number in range(10)]
    path = write(tmp_path / "clip.mp4", frames, UNEVEN)
    found = read_plain(path)
    assert [time for time, _ in found] == UNEVEN
    for number, (_, pixels) in enumerate(found):
        expected = [COLOURS[(number + place) % 6] for place in range(6)]
        assert np.abs(middles(pixels) - expected).max() <= NEAR
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == {"libx264": "h264", "mpeg4": "mpeg4"}[encoder]
        assert stream.pix_fmt == "yuv420p"
        assert stream.duration * stream.time_base == UNEVEN[-1] + FILM
        if encoder == "libx264":
            assert (stream.colorspace, stream.color_primaries, stream.color_trc, stream.color_range) == (1, 1, 1, 1)


@settings(max_examples=40, deadline=None)
@given(
    base=st.sampled_from([Fraction(1, 1000), TICK, Fraction(1, 90_000), FILM, Fraction(1, 12_800), Fraction(1, 10**6)]),
    start=st.integers(0, 50_000),
    steps=st.lists(st.integers(1, 5000), min_size=1, max_size=12),
)
def test_any_rising_times_are_kept_exactly(tmp_path_factory, base, start, steps):
    path = tmp_path_factory.mktemp("times") / "clip.mp4"
    times = [base * (start + sum(steps[:number])) for number in range(len(steps) + 1)]
    write(path, still_bars(len(times), (16, 16)), times, time_base=base)
    assert [time for time, _ in read_plain(path)] == times


@pytest.mark.parametrize("start", [Fraction(-1, 10), Fraction(1_700_000_000)])
def test_times_that_players_cannot_show_begin_at_zero(tmp_path, start):
    path = write(tmp_path / "clip.mp4", still_bars(10), [start + time for time in UNEVEN])
    assert [time for time, _ in read_plain(path)] == UNEVEN


def test_times_that_fall_into_one_tick_are_set_apart(tmp_path):
    base = Fraction(1, 25)
    path = write(tmp_path / "clip.mp4", still_bars(3), [Fraction(0), Fraction(1, 100), Fraction(1, 25)], time_base=base)
    assert [time for time, _ in read_plain(path)] == [0, base, 2 * base]


@pytest.mark.parametrize("size", [(47, 96), (48, 95), (47, 95), (1, 1)])
def test_odd_sizes_get_one_more_row_or_column(tmp_path, size):
    frame = bars(0, size)
    path = write(tmp_path / "clip.mp4", [frame] * 2, [Fraction(0), FILM])
    pixels = read_plain(path)[0][1].astype(int)
    assert pixels.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    if size[1] > 1:
        assert np.abs(middles(pixels[: size[0], : size[1]]) - COLOURS).max() <= NEAR
        assert np.abs(pixels[-1, ::24] - pixels[size[0] - 1, ::24]).max() <= NEAR


def test_the_shape_of_pixels_is_kept(tmp_path):
    path = write(tmp_path / "clip.mp4", still_bars(2), [Fraction(0), FILM], aspect=Fraction(4, 3))
    with open_video(path) as clip:
        assert clip.aspect == Fraction(4, 3)


def test_another_size_in_the_middle_is_a_fault_of_the_caller(tmp_path):
    with pytest.raises(ValueError, match="expected"):
        write(tmp_path / "a.mp4", [bars(0), bars(0, (48, 98))], [Fraction(0), FILM])
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_and_keeps_what_was(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"what was")

    def interrupted():
        with VideoWriter(path, (48, 96), time_base=TICK) as writer:
            writer.write(bars(0), Fraction(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == b"what was"


def test_a_disk_that_fills_up_is_told_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the full disk: both fail in the same call."""
    noise = [np.random.default_rng(number).integers(0, 255, (256, 256, 3), np.uint8) for number in range(60)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(OutputError, match=r"clip.mp4 was not written") as caught:
            write(tmp_path / "clip.mp4", noise, [number * FILM for number in range(60)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="none"):
        write(tmp_path / "none" / "clip.mp4", still_bars(1), [Fraction(0)])


def test_without_any_encoder_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "ENCODERS", {"no_such_encoder": {}})
    with pytest.raises(OutputError, match="libx264"):
        VideoWriter(tmp_path / "clip.mp4", (48, 96), time_base=TICK)


def test_nothing_of_the_source_is_in_the_file(tmp_path):
    content = write(tmp_path / "clip.mp4", still_bars(3), [number * FILM for number in range(3)]).read_bytes()
    assert b"location" not in content
    assert b"\xa9xyz" not in content

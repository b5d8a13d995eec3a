"""Frames, times, turns and colours of clips that PyAV itself wrote."""

import os
from fractions import Fraction

import numpy as np
import pytest

from atrous.errors import VideoError
from atrous.video import Limits, expected_frames, open_video
from video_clips import COLOURS, FILM, TICK, UNEVEN, av, bars, middles, still_bars, write_clip, write_sound

NEAR = 4  # units that a colour loses on its way through yuv420p and H.264 at this quality


def read(path, **limits):
    with open_video(path, limits=Limits(**limits)) as clip:
        return clip, list(clip)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "avi", "webm", "3gp", "m2ts"])
def test_every_container_gives_all_frames_in_order(tmp_path, suffix):
    codec = "libvpx-vp9" if suffix == "webm" else "mpeg4" if suffix in ("avi", "3gp") else "libx264"
    base = Fraction(1, 30) if suffix == "avi" else Fraction(1, 30_000)
    times = [number * base * (1 if suffix == "avi" else 1000) for number in range(8)]
    container = "mpegts" if suffix == "m2ts" else None
    path = write_clip(
        tmp_path / f"clip.{suffix}", [bars(number) for number in range(8)], times=times, time_base=base, codec=codec,
        colourspace=1 if codec == "libx264" else 2, container=container,
    )  # fmt: skip
    clip, frames = read(path)
    assert clip.size == (48, 96)
    assert [frame.number for frame in frames] == list(range(8))
    assert clip.notes == []
    for number, frame in enumerate(frames):
        expected = [COLOURS[(number + place) % 6] for place in range(6)]
        assert np.abs(middles(frame.pixels) - expected).max() < 4 * NEAR  # vp9 and mpeg4 lose more
    start = frames[0].time
    coarse = Fraction(1, 1000) if suffix in ("mkv", "webm") else Fraction(1, 90_000)
    for frame, time in zip(frames, times, strict=True):
        assert abs(frame.time - start - time) <= coarse


def test_times_are_exact_and_a_variable_rate_is_kept(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", still_bars(10), times=UNEVEN)
    clip, frames = read(path)
    assert [frame.time for frame in frames] == UNEVEN
    assert clip.clock.time_base == TICK
    assert clip.expected == 10
    assert expected_frames(path) == 10


TURNS = {
    0: lambda picture: picture,
    90: lambda picture: np.rot90(picture, 1),
    180: lambda picture: np.rot90(picture, 2),
    270: lambda picture: np.rot90(picture, 3),
}


def corner_picture(size=(48, 96)):
    """Another colour in every quarter, so that every turn and mirroring shows."""
    picture = np.full((*size, 3), 128, np.uint8)
    half, middle = size[0] // 2, size[1] // 2
    picture[:half, :middle], picture[:half, middle:], picture[half:, :middle] = COLOURS[:3]
    return picture


@pytest.mark.parametrize("degrees", TURNS)
def test_a_turn_counterclockwise_is_applied(tmp_path, degrees):
    picture = corner_picture()
    path = write_clip(tmp_path / "clip.mp4", [picture] * 3, turn=degrees)
    clip, frames = read(path)
    expected = TURNS[degrees](picture)
    assert clip.size == expected.shape[:2]
    assert all(frame.pixels.flags.c_contiguous for frame in frames)
    assert np.abs(frames[1].pixels[4::8, 4::8].astype(int) - expected[4::8, 4::8]).max() <= NEAR


UNIT = 1 << 16


@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        ((-UNIT, 0, 0, UNIT), lambda picture: picture[:, ::-1]),
        ((UNIT, 0, 0, -UNIT), lambda picture: picture[::-1]),
        ((0, UNIT, UNIT, 0), lambda picture: picture.transpose(1, 0, 2)),
        ((0, -UNIT, -UNIT, 0), lambda picture: picture[::-1, ::-1].transpose(1, 0, 2)),
        ((0, 3 * UNIT, -2 * UNIT, 0), lambda picture: np.rot90(picture, 3)),  # scaled too, which is left
    ],
)
def test_mirrored_frames_are_seen_as_players_show_them(tmp_path, matrix, seen):
    a, b, c, d = matrix
    picture = corner_picture()
    path = write_clip(tmp_path / "clip.mp4", [picture] * 2, matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    _, frames = read(path)
    assert np.abs(frames[0].pixels[4::8, 4::8].astype(int) - seen(picture)[4::8, 4::8]).max() <= NEAR


def test_an_odd_angle_is_left_and_told(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", still_bars(2), turn=30)
    clip, frames = read(path)
    assert frames[0].pixels.shape == (48, 96, 3)
    assert any("another angle than quarters" in note for note in clip.notes)


@pytest.mark.parametrize(("colourspace", "size"), [(1, (48, 96)), (5, (48, 96)), (6, (48, 96)), (2, (48, 96))])
def test_colours_are_those_of_the_stated_matrix(tmp_path, colourspace, size):
    path = write_clip(tmp_path / "clip.mp4", still_bars(3, size), colourspace=colourspace)
    clip, frames = read(path)
    assert np.abs(middles(frames[0].pixels) - COLOURS).max() <= NEAR
    assert ("assumed" in clip.colours) == (colourspace == 2)


def test_high_frames_without_a_matrix_are_taken_for_bt709(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", still_bars(1, (720, 96)), colourspace=2)
    clip, frames = read(path)
    assert clip.colours.startswith("BT.709, assumed")
    assert np.abs(middles(frames[0].pixels) - COLOURS).max() > 3 * NEAR  # it was written with BT.601's


def test_the_shape_of_pixels_follows_the_turn(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", still_bars(2), turn=90, aspect=Fraction(4, 3))
    assert read(path)[0].aspect == Fraction(3, 4)


def test_sound_is_passed_over(tmp_path):
    clip, frames = read(write_clip(tmp_path / "clip.mp4", still_bars(5), sound=True))
    assert len(frames) == 5
    assert clip.notes == []


def test_of_two_streams_the_first_is_taken_and_told(tmp_path):
    clip, frames = read(write_clip(tmp_path / "clip.mkv", still_bars(5), streams=2, time_base=Fraction(1, 1000)))
    assert len(frames) == 5
    assert "2 video streams; the first is taken" in clip.notes[0]


def refused(path, *words, **limits):
    with pytest.raises(VideoError) as caught, open_video(path, limits=Limits(**limits)) as clip:
        list(clip)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    for word in words:
        assert word in text
    return text


def test_limits_that_the_header_tells_are_refused_with_the_option(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", still_bars(10), times=[Fraction(number) for number in range(10)])
    refused(path, "10 frames", "at most 9", "--max-frames 10", frames=9)
    refused(path, "minutes", "--max-minutes 1", minutes=0.1)
    refused(path, "48 x 96", "at most", pixels=48 * 96 - 1)
    assert len(read(path, frames=10, minutes=1, pixels=48 * 96)[1]) == 10


def test_limits_that_only_reading_tells_end_the_clip(tmp_path):
    path = write_clip(
        tmp_path / "clip.mkv", still_bars(10), times=[Fraction(number) for number in range(10)],
        time_base=Fraction(1, 1000),
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    at = content.index(b"\x44\x89")  # Matroska's Duration: an 8-byte float follows
    content[at : at + 11] = b"\xec\x89" + bytes(9)  # a Void element in its place
    path.write_bytes(content)
    clip, frames = read(path, frames=4)
    assert len(frames) == 4
    assert clip.ended_early
    assert "more than 4 frames" in clip.notes[-1]
    assert "--max-frames" in clip.notes[-1]
    clip, frames = read(path, minutes=0.05)
    assert len(frames) == 4  # at 0, 1, 2 and 3 seconds
    assert "--max-minutes" in clip.notes[-1]


def test_what_is_no_video_is_told(tmp_path):
    refused(tmp_path / "none.mp4", "does not exist")
    refused(tmp_path, "a folder")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "0 bytes")
    (tmp_path / "text.mp4").write_text("hello " * 200)
    refused(tmp_path / "text.mp4", "not a video", "mkv", "ffmpeg")
    os.mkfifo(tmp_path / "pipe.mp4")
    refused(tmp_path / "pipe.mp4", "not a regular file")
    refused(write_sound(tmp_path / "sound.m4a"), "only audio")


def test_a_header_without_frames(tmp_path):
    content = write_clip(tmp_path / "clip.mp4", still_bars(10)).read_bytes()
    end = content.index(b"mdat")
    path = tmp_path / "cut.mp4"
    path.write_bytes(content[: end + 4])
    refused(path, "whole")


def test_a_truncated_recording_gives_what_is_there(tmp_path):
    whole = write_clip(tmp_path / "whole.mkv", [bars(number) for number in range(40)], time_base=Fraction(1, 1000))
    content = whole.read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(content[: len(content) * 2 // 3])
    _, frames = read(path)
    assert 0 < len(frames) < 40
    assert np.abs(middles(frames[3].pixels) - [COLOURS[(3 + place) % 6] for place in range(6)]).max() <= NEAR


def packets_of(path):
    """Place and size of every packet in the file."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_corrupt_packets_are_told_and_the_rest_is_read(tmp_path, codec):
    path = write_clip(tmp_path / "clip.mp4", [bars(number) for number in range(30)], codec=codec, colourspace=5)
    content = bytearray(path.read_bytes())
    for place, size in packets_of(path)[20:22]:
        content[place : place + size] = b"\xff" * size
    path.write_bytes(content)
    clip, frames = read(path)
    assert 20 <= len(frames) <= 30
    assert any("left out" in note or "mended" in note for note in clip.notes)
    assert len(frames) == 30 or any(f"{30 - len(frames)} packets" in note for note in clip.notes)
    times = [frame.time for frame in frames]
    assert set(times) <= {number * FILM for number in range(30)}
    assert times == sorted(set(times))
    assert np.abs(middles(frames[10].pixels) - [COLOURS[(10 + place) % 6] for place in range(6)]).max() <= 3 * NEAR


def test_a_reader_that_loses_its_way_is_told(tmp_path):
    path = write_clip(tmp_path / "clip.mkv", [bars(number) for number in range(30)], time_base=Fraction(1, 1000))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(range(200))  # over the heads of several blocks
    path.write_bytes(content)
    clip, frames = read(path)
    assert 0 < len(frames) < 30
    assert clip.ended_early
    assert any("its header promises" in note for note in clip.notes)


def test_frames_of_another_size_are_scaled_to_the_first_and_told(tmp_path):
    """Two recordings in one stream, as an encoder that was set up anew leaves them."""
    one = write_clip(tmp_path / "one.ts", still_bars(5))
    two = write_clip(tmp_path / "two.ts", still_bars(5, (96, 192)))
    path = tmp_path / "both.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    clip, frames = read(path)
    assert len(frames) == 10
    assert all(frame.pixels.shape == (48, 96, 3) for frame in frames)
    assert np.abs(middles(frames[-1].pixels) - COLOURS).max() <= NEAR
    assert any("5 frames have another size" in note for note in clip.notes)
    times = [frame.time for frame in frames]
    assert times == sorted(set(times))


def test_a_pixel_format_that_nothing_converts_is_told(tmp_path, monkeypatch):
    def failing(self, frame):
        raise ValueError("no such format")

    monkeypatch.setattr("atrous.video.pictures.Pictures.rgb", failing)
    refused(write_clip(tmp_path / "clip.mp4", still_bars(2)), "frame 0 (yuv420p)", "no such format")


def test_frames_that_no_memory_holds_are_told(tmp_path, monkeypatch):
    def failing(self, frame):
        raise MemoryError

    monkeypatch.setattr("atrous.video.pictures.Pictures.rgb", failing)
    refused(write_clip(tmp_path / "clip.mp4", still_bars(2)), "memory")


def test_expected_frames_of_what_cannot_be_read_is_one(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    assert expected_frames(tmp_path / "text.mp4") == 1


def test_rates_fill_in_for_a_container_without_times(tmp_path):
    frames = [bars(number) for number in range(9)]
    path = write_clip(
        tmp_path / "clip.avi", frames, times=[Fraction(number, 25) for number in range(9)], time_base=Fraction(1, 25)
    )  # H.264 with frames out of order, for which AVI has no times
    clip, read_frames = read(path)
    assert len(read_frames) == 9
    times = [frame.time for frame in read_frames]
    assert times == sorted(set(times))
    assert clip.clock.mended == 0 or any("follow the one before" in note for note in clip.notes)


def test_film_rate_is_exact(tmp_path):
    _, frames = read(write_clip(tmp_path / "clip.mp4", still_bars(4)))
    assert [frame.time for frame in frames] == [0, FILM, 2 * FILM, 3 * FILM]
    assert frames[-1].duration is not None

"""Files that mean harm: lists of other files, mutated clips, large claims."""

import builtins
import io
import os
import resource
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from atrous.errors import VideoError
from atrous.video import Limits, is_video, open_video
from video_clips import av, bars, still_bars, write_clip

SEED = 20_250_101
MUTANTS = 200

PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile canary.mp4\n",
    "ffconcat_absolute": "ffconcat version 1.0\nfile {folder}/canary.mp4\n",
    "ffconcat_url": "ffconcat version 1.0\nfile file:{folder}/canary.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\ncanary.mp4\n#EXT-X-ENDLIST\n",
    "hls_segments": '#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-MAP:URI="canary.mp4"\n#EXTINF:1,\ncanary.mp4\n#EXT-X-ENDLIST\n',
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    "<Period><BaseURL>canary.mp4</BaseURL></Period></MPD>",
    "playlist": "[playlist]\nFile1=canary.mp4\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


@pytest.fixture
def opened(monkeypatch):
    """The files that are opened from Python; FFmpeg can open none by itself, and asks a function that refuses."""
    names = []
    real = io.open

    def watched(file, *arguments, **options):
        names.append(str(file))
        return real(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", watched)
    monkeypatch.setattr(io, "open", watched)  # what Path.open calls
    return names


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "m3u8", "ts"])
def test_a_list_of_other_files_is_refused_and_they_are_not_read(tmp_path, opened, kind, suffix):
    canary = write_clip(tmp_path / "canary.mp4", still_bars(3))
    used = canary.stat().st_atime_ns
    path = tmp_path / f"list.{suffix}"
    path.write_text(PLAYLISTS[kind].format(folder=tmp_path))
    opened.clear()
    with pytest.raises(VideoError, match="not a video") as caught, open_video(path):
        pass
    assert ("Name the video itself" in str(caught.value)) == (kind != "sdp")
    assert not any("canary" in name for name in opened)
    assert canary.stat().st_atime_ns == used


def test_the_canary_would_be_read_without_care(tmp_path):
    """What the tests above watch for does happen: FFmpeg by itself follows the list."""
    write_clip(tmp_path / "canary.mp4", still_bars(3))
    (tmp_path / "list.mp4").write_text(PLAYLISTS["ffconcat"])
    with av.open(str(tmp_path / "list.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3


def test_a_list_behind_the_first_bytes_of_a_video_is_refused(tmp_path, opened):
    """What decides is one and the same: no reader is searched for once the first bytes have named one."""
    write_clip(tmp_path / "canary.mp4", still_bars(3))
    for head in (
        b"\x00\x00\x00\x08free",
        b"\x1a\x45\xdf\xa3",
        b"RIFF\x00\x00\x00\x00AVI ",
        b"\x47" + bytes(187) + b"\x47",
    ):
        path = tmp_path / "list.mp4"
        path.write_bytes(head + PLAYLISTS["ffconcat"].encode())
        opened.clear()
        with pytest.raises(VideoError), open_video(path):
            pass
        assert not any("canary" in name for name in opened)


def boxes(content, *names):
    """Where the boxes begin that lie in one another, the outermost first."""
    at, places = 0, []
    for name in names:
        at = content.index(name, at) - 4
        places.append(at)
        at += 8
    return places


def with_reference(content, folder):
    """QuickTime's data reference to a file beside it, in the place of 'it is this file' (the format's 'alis' record)."""
    name = b"canary.mp4"
    path = os.fsencode(f"{folder}/canary.mp4")
    record = bytes(10) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    record += bytes(16) + b"\0\1\0\1" + bytes(16)
    record += struct.pack(">HH", 2, len(path)) + path + b"\0" * (len(path) % 2) + b"\xff\xff\0\0"
    record = record.ljust(200, b"\0")
    entry = struct.pack(">I", 12 + len(record)) + b"alis" + bytes(4) + record
    data = bytearray(content)
    *outer, old = boxes(content, b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref", b"url ")
    data[old : old + 12] = entry
    for place in outer:
        size = int.from_bytes(data[place : place + 4], "big") + len(entry) - 12
        data[place : place + 4] = size.to_bytes(4, "big")
    return bytes(data)


def test_a_movie_that_refers_to_another_file_does_not_open_it(tmp_path, opened):
    canary = write_clip(tmp_path / "canary.mp4", still_bars(3))
    source = write_clip(tmp_path / "clip.mov", [bars(3)] * 3).read_bytes()
    path = tmp_path / "reference.mov"
    path.write_bytes(with_reference(source, tmp_path))
    asked = []

    def give(url, flags, options):
        asked.append(url)
        return canary.open("rb")

    options = {"enable_drefs": "1", "use_absolute_path": "1"}
    with path.open("rb") as file, av.open(file, options=options, io_open=give):
        assert asked, "the reference is one that FFmpeg can follow"
        assert "canary.mp4" in asked[0]
    used = canary.stat().st_atime_ns
    opened.clear()
    with suppress(VideoError), open_video(path) as clip:
        list(clip)
    assert not any("canary" in name for name in opened)
    assert canary.stat().st_atime_ns == used


def mutant(content, generator):
    """A copy with bytes changed, cut out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(int(generator.integers(1, 5))):
        if len(data) < 64:
            break
        at = int(generator.integers(0, len(data)))
        span = int(generator.integers(1, 64))
        match int(generator.integers(0, 9)):
            case 0:
                data[at] = int(generator.integers(0, 256))
            case 1:
                data[at : at + span] = generator.integers(0, 256, span, np.uint8).tobytes()
            case 2:
                del data[at : at + span]
            case 3:
                data[at:at] = data[at : at + span]
            case 4 | 5 | 6 | 7:
                data[at : at + 4] = (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff")[int(generator.integers(0, 3))]
            case _:
                del data[at:]
    return bytes(data)


@pytest.mark.timeout(120)
def test_mutants_give_frames_or_our_error(tmp_path):
    source = write_clip(tmp_path / "clip.mp4", [bars(number) for number in range(12)], sound=True).read_bytes()
    header = source.index(b"moov")
    generator = np.random.default_rng(SEED)
    path = tmp_path / "mutant.mp4"
    read, messages = 0, []
    for number in range(MUTANTS):
        content = mutant(source, generator)
        if number % 2:  # the other half of the mutants has its faults where they do most: in the header
            content = source[: header - 4] + mutant(source[header - 4 :], generator)
            path.write_bytes(content)
        try:
            with open_video(path, limits=Limits(frames=100, minutes=1, pixels=1 << 20)) as clip:
                last = None
                for frame in clip:
                    assert frame.pixels.shape == (*clip.size, 3)
                    assert frame.pixels.dtype == np.uint8
                    assert last is None or frame.time > last
                    last = frame.time
            read += 1
        except VideoError as error:
            messages.append(str(error))
    assert all(message.startswith(f"{path}: ") for message in messages)
    assert read > MUTANTS // 10
    assert len(messages) > MUTANTS // 10


def test_a_large_frame_is_refused_before_it_is_decoded(tmp_path):
    content = bytearray(write_clip(tmp_path / "clip.mp4", still_bars(3)).read_bytes())
    at = content.index(b"avc1", content.index(b"stsd")) + 28  # of the sample entry: width and height, two bytes each
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path = tmp_path / "large.mp4"
    path.write_bytes(content)
    with open_video(path, limits=Limits(pixels=48 * 96)) as clip:  # what the stream says of itself counts
        assert all(frame.pixels.shape == (48, 96, 3) for frame in clip)
    with pytest.raises(VideoError, match="at most"), open_video(path, limits=Limits(pixels=48 * 95)):
        pass


def test_frames_that_grow_beyond_the_limit_are_not_decoded(tmp_path):
    small = write_clip(tmp_path / "small.ts", still_bars(5))
    large = write_clip(tmp_path / "large.ts", still_bars(2, (1024, 2048)))
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with open_video(path) as clip:
        assert len(list(clip)) == 7
    with open_video(path, limits=Limits(pixels=1 << 16)) as clip:
        assert len(list(clip)) == 5
    assert "2 packets could not be decoded and were left out" in clip.notes


@pytest.mark.parametrize("table", [b"stts", b"stsz", b"stsc", b"ctts"])
def test_a_header_that_claims_billions_of_frames_takes_no_longer(tmp_path, table):
    content = bytearray(write_clip(tmp_path / "clip.mp4", [bars(number) for number in range(12)]).read_bytes())
    at = content.index(table) + (12 if table != b"stsz" else 8)
    content[at : at + 8] = b"\x00\x00\x00\x01\x7f\xff\xff\xff" if table == b"stsz" else b"\x7f\xff\xff\xff" * 2
    path = tmp_path / "many.mp4"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    frames = 0
    with suppress(VideoError), open_video(path, limits=Limits(frames=100)) as clip:
        frames = len(list(clip))
    assert frames <= 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # kilobytes


@pytest.mark.parametrize(
    ("name", "content", "named", "expected"),
    [
        ("a.mp4", b"anything", False, True),
        ("a.MOV", b"anything", False, True),
        ("a.ts", b"export const a = 1", False, False),
        ("a.ts", (b"\x47" + bytes(187)) * 3, False, True),
        ("a.m2ts", b"anything", False, True),
        ("a.bin", b"\x1a\x45\xdf\xa3", False, False),
        ("a.bin", b"\x1a\x45\xdf\xa3", True, True),
        ("a", b"\x00\x00\x00\x18ftypmp42", True, True),
        ("a", b"\x00\x00\x00\x18ftypheic", True, False),
        ("a", b"RIFF\x00\x00\x00\x00WEBPVP8 ", True, False),
        ("a.wmv", b"anything", True, True),
        ("a.wmv", b"anything", False, False),
        ("a.m3u8", b"#EXTM3U", True, True),
    ],
)
def test_what_is_taken_for_a_video(tmp_path, name, content, named, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert is_video(path, named=named) is expected
    assert not is_video(Path(tmp_path / "none"), named=True)

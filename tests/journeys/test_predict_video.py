"""`atrous predict` with videos among its inputs."""

import errno
import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from atrous.files import TEMPORARY_PREFIX
from video_clips import UNEVEN, bars, read_plain, still_bars, write_clip, write_sound


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips by themselves, and what is none; read only."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "clip.mp4", [bars(number, (64, 96)) for number in range(10)], times=UNEVEN)
    write_clip(folder / "turned.mov", still_bars(3, (64, 96)), turn=90)
    write_sound(folder / "sound.m4a")
    (folder / "list.mp4").write_text(f"ffconcat version 1.0\nfile {folder}/clip.mp4\n")
    return folder


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]


def test_a_video(atrous, trained, clips, tmp_path):
    code, out, err = atrous("predict", trained, clips / "clip.mp4", "--out", "o", "--smooth", "3")
    assert code == 0, err
    assert out.split() == ["o/clip_overlay.mp4", "o/clip", "o/clip_frames.csv", "o/clip_video.json"]
    assert [time for time, _ in read_plain(tmp_path / "o/clip_overlay.mp4")] == UNEVEN
    assert len(list((tmp_path / "o/clip").iterdir())) == 10
    with Image.open(tmp_path / "o/clip/000009.png") as mask:
        assert (mask.mode, mask.size) == ("P", (96, 64))
    assert "1 of 1 inputs are videos" in err
    assert "10 frames" in err
    assert "without smoothing" in err
    facts = json.loads((tmp_path / "o/clip_video.json").read_text())
    assert facts["engine"] == "torch"
    assert not (tmp_path / "o/errors.jsonl").exists()
    assert not leftovers(tmp_path)


def test_a_folder_with_images_and_videos(atrous, trained, clips, scenes, tmp_path):
    data = tmp_path / "data"
    (data / "clip").mkdir(parents=True)
    shutil.copy(scenes / "JPEGImages/scene_0000.jpg", data / "clip/000000.jpg")
    shutil.copy(scenes / "JPEGImages/scene_0001.jpg", data / "turned.jpg")
    for name in ("clip.mp4", "turned.mov", "list.mp4"):
        shutil.copy(clips / name, data / name)
    (data / "code.ts").write_text("export const a = 1")
    code, _, err = atrous("predict", trained, data, "--out", "o", "--save", "mask")
    assert code == 1
    assert "3 of 5 inputs are videos" in err
    assert "list.mp4: a list of other files, not a video" in err
    assert "4 files segmented into o, 1 failed" in err
    assert (tmp_path / "o/clip/000000.png").is_file()  # of the image in the folder of that name
    assert len(list((tmp_path / "o/clip.mp4").iterdir())) == 10
    assert (tmp_path / "o/turned.jpg.png").is_file()
    assert len(list((tmp_path / "o/turned.mov").iterdir())) == 3
    errors = [json.loads(line) for line in (tmp_path / "o/errors.jsonl").read_text().splitlines()]
    assert [error["file"] for error in errors] == [str(data / "list.mp4")]


def test_what_a_file_holds_counts_where_it_is_named(atrous, trained, clips, tmp_path):
    shutil.copy(clips / "clip.mp4", tmp_path / "recording")
    code, _, err = atrous("predict", trained, "recording", "--out", "o", "--save", "mask")
    assert code == 0, err
    assert len(list((tmp_path / "o/recording").iterdir())) == 10


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.mp4", b"hello" * 100, "not a video"),
        ("a.mp4", b"", "0 bytes"),
        ("a.wmv", b"\x30\x26\xb2\x75" * 100, "ffmpeg -i"),
        ("a.m3u8", b"#EXTM3U\n#EXTINF:1,\nclip.mp4\n", "a list of other files"),
    ],
)
def test_bad_videos_are_told(atrous, trained, tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    code, out, err = atrous("predict", trained, name, "--out", "o")
    assert code == 1
    assert out == ""
    assert expected in err
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["errors.jsonl"]


def test_a_file_with_sound_alone(atrous, trained, clips):
    code, _, err = atrous("predict", trained, clips / "sound.m4a", "--out", "o")
    assert code == 1
    assert "only audio" in err


def test_limits(atrous, trained, clips):
    code, _, err = atrous("predict", trained, clips / "clip.mp4", "--out", "o", "--max-frames", "9")
    assert code == 1
    assert "--max-frames 10" in err
    for options in (["--max-frames", "0"], ["--smooth", "-1"], ["--max-minutes", "0"]):
        code, _, err = atrous("predict", trained, clips / "clip.mp4", "--out", "o", *options)
        assert code == 2
        assert options[0] in err


def test_smoothing_without_a_video_is_told(atrous, trained, scenes):
    code, _, err = atrous(
        "predict", trained, scenes / "JPEGImages/scene_0000.jpg", "--out", "o", "--save", "mask", "--smooth", "2"
    )
    assert code == 0
    assert "--smooth is for videos" in err


def test_without_the_package_videos_fail_and_images_go_on(atrous, trained, clips, scenes, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    code, _, err = atrous(
        "predict", trained, clips / "clip.mp4", scenes / "JPEGImages/scene_0000.jpg", "--out", "o", "--save", "mask"
    )
    assert code == 1
    assert "pip install 'atrous[video]'" in err
    assert "1 files segmented into o, 1 failed" in err


def test_an_interruption_leaves_nothing(atrous, trained, clips, tmp_path, monkeypatch):
    from atrous.prediction import Model

    views, calls = Model.views, []

    def interrupted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return views(self, *arguments, **options)

    monkeypatch.setattr(Model, "views", interrupted)
    code, out, _ = atrous("predict", trained, clips / "clip.mp4", "--out", "o")
    assert code == 130
    assert out == ""
    assert list((tmp_path / "o").rglob("*")) == []


def test_a_disk_that_fills_up_leaves_nothing_half_written(atrous, trained, clips, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, out, err = atrous("predict", trained, clips / "clip.mp4", "--out", "o")
    assert code == 2
    assert "space" in err.lower()
    assert out == ""
    assert list((tmp_path / "o").rglob("*")) == []


def test_help_needs_no_package_for_videos():
    program = (
        "import sys; from atrous.__main__ import main; sys.argv = ['atrous', 'predict', '--help']; code = main(); "
        "sys.exit(code or (9 if {'av', 'torch', 'cv2'} & set(sys.modules) else 0))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--smooth" in done.stdout
    assert "without sound" in " ".join(done.stdout.split())

"""A video through a model: every frame as an image, everything at the end or nothing at all."""

import csv
import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from atrous.errors import OutputError, VideoError
from atrous.files import TEMPORARY_PREFIX
from atrous.footage import VideoSettings, segment_video
from atrous.images import read_raw_mask
from atrous.labels import Labels
from atrous.overlay import class_legend, overlay
from atrous.prediction import Model
from atrous.regions import REGION_FIELDS, find_regions, polygons
from atrous.video import Limits, open_video
from random_weights import randomise
from tiny_network import tiny
from video_clips import UNEVEN, bars, middles, read_plain, write_clip

LABELS = Labels(names=("road", "sky", "car, parked"), palette=((90, 0, 120), (0, 200, 0), (250, 250, 0)))


@pytest.fixture(scope="module")
def model():
    return Model(randomise(tiny(3)), labels=LABELS, device="cpu")


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "in" / "clip.mp4", [bars(number) for number in range(10)], times=UNEVEN)


@pytest.fixture(autouse=True)
def folders(tmp_path):
    (tmp_path / "in").mkdir()


def frames_of(path):
    with open_video(path) as opened:
        return list(opened)


def rows_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]


def test_every_frame_is_segmented_as_an_image_and_written(tmp_path, model, clip):
    told = []
    target = tmp_path / "out" / "sub" / "clip"
    written = segment_video(
        model, clip, target, save=("mask", "overlay", "polygons", "table"), settings=VideoSettings(say=told.append)
    )
    assert [path.name for path in written] == [
        "clip_overlay.mp4", "clip", "clip.csv", "clip_frames.csv", "clip_video.json",
    ]  # fmt: skip
    assert all(path.exists() for path in written)
    frames = frames_of(clip)
    predictions = [model.predict(frame.pixels) for frame in frames]
    assert sorted(path.name for path in target.iterdir()) == sorted(
        f"{number:06d}{suffix}" for number in range(10) for suffix in (".png", ".geojson")
    )
    for number, prediction in enumerate(predictions):
        assert np.array_equal(read_raw_mask(target / f"{number:06d}.png"), prediction.label_map)
        features = json.loads((target / f"{number:06d}.geojson").read_text())["features"]
        assert features == json.loads(json.dumps(polygons(prediction.label_map, LABELS)))
    shares = rows_of(target.with_name("clip_frames.csv"))
    assert list(shares[0]) == ["frame", "time_seconds", "road", "sky", "car, parked"]
    for row, frame, prediction in zip(shares, frames, predictions, strict=True):
        assert (int(row["frame"]), float(row["time_seconds"])) == (
            frame.number,
            pytest.approx(float(frame.time), abs=1e-6),
        )
        for number, name in enumerate(LABELS.names):
            assert float(row[name]) == pytest.approx((prediction.label_map == number).mean(), abs=1e-6)
    regions = rows_of(target.with_name("clip.csv"))
    assert list(regions[0]) == ["frame", "time_seconds", *REGION_FIELDS]
    assert [int(row["frame"]) for row in regions] == [
        number for number, prediction in enumerate(predictions) for _ in find_regions(prediction.label_map, LABELS)
    ]
    overlays = read_plain(written[0])
    assert [time for time, _ in overlays] == UNEVEN
    legend = class_legend((48, 96), LABELS)
    for (_, pixels), frame, prediction in zip(overlays, frames, predictions, strict=True):
        expected = overlay(frame.pixels, prediction.label_map, LABELS, legend=False)
        expected = np.concatenate([expected, legend])
        shown = pixels[: len(expected)].astype(int)
        blurred = cv2.blur(shown.astype(np.float32), (5, 5)) - cv2.blur(expected.astype(np.float32), (5, 5))
        assert np.abs(blurred).mean() < 6
    facts = json.loads(written[-1].read_text())
    assert facts["frames"] == 10
    assert facts["size"] == [48, 96]
    assert facts["whole"] is True
    assert facts["smooth_half_life_frames"] is None
    assert set(facts["flicker"]) == {"definition", "share", "still_pixels"}
    assert "flicker" in told[-1]
    assert not leftovers(tmp_path)


class Brightness(torch.nn.Module):
    """Two classes: brighter than the middle or not, of squares of eight pixels; noise decides near it."""

    def forward(self, image):
        mean = torch.nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 8)
        return torch.cat([20 * mean, -20 * mean], dim=1)


def test_with_smoothing_both_figures_are_told_and_labels_are_calmer(tmp_path):
    model = Model(Brightness(), labels=Labels(names=("bright", "dark")), device="cpu")
    generator = np.random.default_rng(5)
    grey = np.broadcast_to(np.array([124, 116, 104], np.uint8), (48, 96, 3))  # ImageNet's mean
    noisy = [np.clip(grey + generator.normal(0, 3, grey.shape), 0, 255).astype(np.uint8) for _ in range(24)]
    path = write_clip(tmp_path / "in" / "noisy.mp4", noisy)
    told, figures = [], {}
    for smooth in (0.0, 4.0):
        settings = VideoSettings(smooth=smooth, say=told.append)
        written = segment_video(model, path, tmp_path / f"out{smooth:.0f}" / "noisy", save=("mask",), settings=settings)
        figures[smooth] = json.loads(written[-1].read_text())["flicker"]
    assert figures[4.0]["share_without_smoothing"] == figures[0.0]["share"] > 0
    assert figures[4.0]["share"] < 0.7 * figures[0.0]["share"]
    assert "without smoothing" in told[-1]
    assert "without smoothing" not in told[0]


def test_a_cut_restarts_the_mean(tmp_path):
    model = Model(Brightness(), labels=Labels(names=("bright", "dark")), device="cpu")
    dark, light = np.full((48, 96, 3), 10, np.uint8), np.full((48, 96, 3), 240, np.uint8)
    path = write_clip(tmp_path / "in" / "cut.mp4", [dark] * 5 + [light] * 3)
    settings = VideoSettings(smooth=1000.0)
    written = segment_video(model, path, tmp_path / "out" / "cut", save=("mask",), settings=settings)
    assert json.loads(written[-1].read_text())["cuts"] == 1
    found = [read_raw_mask(tmp_path / "out" / "cut" / f"{number:06d}.png").mean() for number in range(8)]
    assert found == [1] * 5 + [0] * 3


def test_turned_frames_are_written_upright(tmp_path, model):
    path = write_clip(tmp_path / "in" / "turned.mp4", [bars(number) for number in range(3)], turn=90)
    written = segment_video(model, path, tmp_path / "out" / "turned", save=("mask", "overlay"))
    assert read_raw_mask(tmp_path / "out" / "turned" / "000000.png").shape == (96, 48)
    with open_video(written[0]) as shown:
        assert shown.size[1] == 48
        assert shown.size[0] > 96  # the legend


def test_odd_sizes(tmp_path, model):
    small = np.ascontiguousarray(bars(1)[:46, :94])
    path = write_clip(tmp_path / "in" / "odd.mkv", [small] * 3, codec="ffv1", time_base=UNEVEN[1] / 1001 * 30)
    frames = [frame.pixels for frame in frames_of(path)]
    assert frames[0].shape == (46, 94, 3)
    segment_video(model, path, tmp_path / "out" / "odd", save=("overlay",))
    assert len(read_plain(tmp_path / "out" / "odd_overlay.mp4")) == 3


def test_scales_and_mirroring_are_those_of_predict(tmp_path, model, clip):
    target = tmp_path / "out" / "clip"
    segment_video(model, clip, target, save=("mask",), scales=(1.0, 1.5), flip=True)
    expected = model.predict(frames_of(clip)[2].pixels, scales=(1.0, 1.5), flip=True).label_map
    assert np.array_equal(read_raw_mask(target / "000002.png"), expected)


def test_progress_counts_every_frame(tmp_path, model, clip):
    seen = []
    segment_video(model, clip, tmp_path / "out" / "clip", save=("mask",), settings=VideoSettings(progress=seen.append))
    assert [state.done for state in seen] == list(range(1, 11))
    assert all(state.expected == 10 for state in seen)
    assert "clip.mp4: 10 of 10 frames" in str(seen[-1])
    assert "left" in str(seen[0])


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OutputError("no room")])
def test_an_interruption_leaves_nothing_and_keeps_what_was(tmp_path, model, clip, failure):
    target = tmp_path / "out" / "clip"
    segment_video(model, clip, target, save=("mask", "overlay", "table"))
    before = {path: path.read_bytes() for path in target.parent.rglob("*") if path.is_file()}

    def stop(state):
        if state.done == 6:
            raise failure

    with pytest.raises(failure if isinstance(failure, type) else OutputError):
        segment_video(model, clip, target, save=("mask", "overlay", "table"), settings=VideoSettings(progress=stop))
    after = {path: path.read_bytes() for path in target.parent.rglob("*") if path.is_file()}
    assert after == before
    assert not any(
        thread.name.startswith("atrous-") for thread in threading.enumerate() if thread.name != "atrous-labelling"
    )


def test_a_second_run_replaces_the_frames_of_the_first(tmp_path, model, clip):
    target = tmp_path / "out" / "clip"
    segment_video(model, clip, target, save=("mask", "polygons"))
    segment_video(model, clip, target, save=("mask",))
    assert sorted(path.suffix for path in target.iterdir()) == [".png"] * 10
    assert not leftovers(tmp_path)


def test_a_folder_with_other_files_is_left_alone(tmp_path, model, clip):
    target = tmp_path / "out" / "clip"
    target.mkdir(parents=True)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes.txt"):
        segment_video(model, clip, target, save=("mask",))
    assert [path.name for path in tmp_path.joinpath("out").rglob("*")] == ["clip", "notes.txt"]


def test_what_a_model_cannot_make_of_videos(tmp_path, model, clip):
    told = []
    settings = VideoSettings(say=told.append)
    written = segment_video(model, clip, tmp_path / "out" / "clip", save=("mask", "heatmap"), settings=settings)
    assert any("heatmap is not made of videos" in line for line in told)
    assert (tmp_path / "out" / "clip") in written
    with pytest.raises(VideoError, match="heatmap"):
        segment_video(model, clip, tmp_path / "out" / "other", save=("heatmap",))


def test_notes_of_the_reader_are_told_and_kept(tmp_path, model):
    path = write_clip(tmp_path / "in" / "two.mp4", [bars(0)] * 4, streams=2)
    told = []
    written = segment_video(
        model, path, tmp_path / "out" / "two", save=("mask",), settings=VideoSettings(say=told.append, limits=Limits())
    )
    assert "2 video streams" in told[0]
    assert "2 video streams" in json.loads(written[-1].read_text())["notes"][0]


def test_memory_does_not_grow_with_the_length(tmp_path, model, monkeypatch):
    """Frames that are alive at a time: those that wait before and behind the network, and the one in it."""
    from atrous.video import reading

    alive, most = set(), 0
    lock = threading.Lock()
    made = reading.Frame.__init__

    def counted(self, *arguments, **options):
        nonlocal most
        import weakref

        made(self, *arguments, **options)
        with lock:
            alive.add(id(self))
            most = max(most, len(alive))
        weakref.finalize(self, alive.discard, id(self))

    monkeypatch.setattr(reading.Frame, "__init__", counted)
    path = write_clip(tmp_path / "in" / "long.mp4", [bars(number) for number in range(60)])
    segment_video(model, path, tmp_path / "out" / "long", save=("mask",))
    assert 3 <= most <= 14


def test_colours_in_the_overlay_are_right(tmp_path):
    """A network that always says class 0, whose colour is that of the overlay's half."""

    class Constant(torch.nn.Module):
        def forward(self, image):
            answer = torch.zeros(image.shape[0], 2, *image.shape[2:])
            answer[:, 0] = 1
            return answer

    constant = Model(Constant(), labels=Labels(names=("a", "b"), palette=((200, 40, 90), (0, 0, 0))), device="cpu")
    (Path(tmp_path) / "in").mkdir(exist_ok=True)
    path = write_clip(tmp_path / "in" / "c.mp4", [bars(0)] * 3)
    written = segment_video(constant, path, tmp_path / "out" / "c", save=("overlay",))
    shown = middles(read_plain(written[0])[1][1][:48])
    expected = (middles(bars(0)) + np.array([200, 40, 90])) / 2
    assert np.abs(shown - expected).max() <= 8

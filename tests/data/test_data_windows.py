"""Large images are cut into windows that cover them, and no pixel of val is near one of train."""

import numpy as np
import pytest
from generated_data import mask, picture, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atrous.data import windows
from atrous.data.audit import audit
from atrous.data.layouts import open_dataset
from atrous.data.loader import read_pair
from atrous.data.samples import Sample
from atrous.data.split import split_by_group
from atrous.data.windows import cut_large, leave_gap
from atrous.errors import DataError
from atrous.images import read_image, read_raw_mask
from atrous.labels import Labels
from atrous.preprocessing import Preprocessing

rasterio = pytest.importorskip("rasterio")

THREE = Labels.numbered(3)


@pytest.fixture
def small_windows(monkeypatch):
    """Large is above 64 pixels, windows and gap have 16."""
    monkeypatch.setattr(windows, "LARGE_SIDE", 64)
    monkeypatch.setattr(windows, "WINDOW_SIDE", 16)
    monkeypatch.setattr(windows, "GAP", 16)


def large(root, names, size=(100, 120), values=(0, 1, 2, 255), folder="", suffix=".tif"):
    for index, name in enumerate(names):
        save(root / folder / "images" / f"{name}.tif", picture(index, size))
        save(root / folder / "masks" / f"{name}{suffix}", mask(index, values, size))
    return root


def cover(samples, size):
    """How often each pixel is in a window."""
    covered = np.zeros(size, int)
    for sample in samples:
        top, bottom, left, right = sample.window
        covered[top:bottom, left:right] += 1
    return covered


sides = st.integers(1, 9000)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.tuples(sides, sides).filter(lambda size: max(size) > 4096), min_size=1, max_size=3),
    val_share=st.floats(0.05, 0.3),
    seed=st.integers(0, 50),
    one_group=st.booleans(),
)
def test_no_pixel_of_val_is_near_a_pixel_of_train(monkeypatch, tmp_path, sizes, val_share, seed, one_group):
    """Checked by painting: val widened by the gap on every side must not meet train. One pixel stands for 16."""
    given_sizes = iter(sizes)
    monkeypatch.setattr(windows, "_large_size", lambda sample: next(given_sizes))
    monkeypatch.setattr(windows, "_is_void", lambda *arguments: False)
    samples = tuple(
        Sample(
            name=str(index), image=tmp_path / f"{index}.tif", mask=tmp_path, group="all" if one_group else str(index)
        )
        for index in range(len(sizes))
    )
    cut = cut_large({"train": samples}, labels=THREE, class_map={}, parts_train=True)
    everything = cut.splits["train"]
    assert len({sample.name for sample in everything}) == len(everything)
    train, val, _ = split_by_group(everything, val_share=val_share, seed=seed)
    kept, note = leave_gap(train, val)
    assert kept
    assert val
    assert str(len(train) - len(kept)) in note or len(kept) == len(train)
    for sample, (height, width) in zip(samples, sizes, strict=True):
        parts = [[part.window for part in split if part.image == sample.image] for split in (everything, kept, val)]
        assert sum((bottom - top) * (right - left) for top, bottom, left, right in parts[0]) == height * width
        train_map = np.zeros((height // 16 + 1, width // 16 + 1), bool)
        for top, bottom, left, right in parts[1]:
            train_map[top // 16 : -(-bottom // 16), left // 16 : -(-right // 16)] = True
        for top, bottom, left, right in parts[2]:
            near = train_map[
                max(0, (top - 1008) // 16) : (bottom + 1008) // 16, max(0, (left - 1008) // 16) : (right + 1008) // 16
            ]
            assert not near.any()


def test_the_gap_is_not_wider_than_it_must_be():
    def at(row, column, image):
        window = (row * 1024, row * 1024 + 1024, column * 1024, column * 1024 + 1024)
        return Sample(name=f"{image}{row}{column}", image=image, mask=image, group="g", window=window)

    grid = [at(row, column, "a.tif") for row in range(5) for column in range(5)]
    val = [grid[12]]
    kept, note = leave_gap([sample for sample in grid if sample not in val] + [at(2, 2, "b.tif")], val)
    assert {sample.name for sample in grid} - {sample.name for sample in kept} == {
        f"a.tif{row}{column}" for row in (1, 2, 3) for column in (1, 2, 3)
    }
    assert "8 windows of train are left out" in note
    assert "train keeps 17" in note
    with pytest.raises(DataError, match="smaller share for val"):
        leave_gap([grid[11]], val)


def test_one_image_becomes_windows_of_both_splits(tmp_path, small_windows):
    root = large(tmp_path, ["scene"])
    dataset = open_dataset(root)
    again = open_dataset(root)
    assert dataset.splits == again.splits
    train, val = dataset.splits["train"], dataset.splits["val"]
    assert {sample.group for sample in train}.isdisjoint(sample.group for sample in val)
    assert train[0].name == "images/scene_y0_x0" or val[0].name == "images/scene_y0_x0"
    covered = cover([*train, *val], (100, 120))
    assert covered.max() == 1
    assert 0.6 < covered.mean() < 1
    told = " ".join(dataset.notes)
    assert "Windows: 1 image has a side of more than 64 pixels (scene.tif: 100x120), so 48 windows" in told
    assert "windows of train are left out" in told
    image, labels = read_image(root / "images/scene.tif"), read_raw_mask(root / "masks/scene.tif")
    for sample in (*train, *val):
        top, bottom, left, right = sample.window
        pixels, numbers = read_pair(sample, dataset, Preprocessing())
        assert np.array_equal(pixels, image[top:bottom, left:right])
        assert np.array_equal(numbers, labels[top:bottom, left:right])


def test_a_rest_of_less_than_half_a_window_belongs_to_the_last(tmp_path, small_windows):
    dataset = open_dataset(large(tmp_path, ["scene"], (71, 40)))
    sizes = {(sample.window[1] - sample.window[0], sample.window[3] - sample.window[2]) for sample in all_of(dataset)}
    assert sizes <= {(16, 16), (23, 16), (16, 8), (23, 8)}
    assert any(height == 23 for height, _ in sizes)


def all_of(dataset):
    return [sample for samples in dataset.splits.values() for sample in samples]


def test_given_splits_lose_nothing(tmp_path, small_windows):
    large(tmp_path, ["a"], folder="train")
    large(tmp_path, ["b"], folder="val")
    dataset = open_dataset(tmp_path)
    for name in ("train", "val"):
        assert (cover(dataset.splits[name], (100, 120)) == 1).all()
    assert "left out" not in " ".join(dataset.notes)
    assert not audit(dataset).findings


def test_many_large_images_are_split_whole(tmp_path, small_windows):
    dataset = open_dataset(large(tmp_path, "abcdef"))
    for name in ("train", "val"):
        for image in {sample.image for sample in dataset.splits[name]}:
            assert (cover([s for s in dataset.splits[name] if s.image == image], (100, 120)) == 1).all()
    assert len(all_of(dataset)) == 6 * 48


def test_groups_of_the_data_stay_whole(tmp_path, small_windows):
    large(tmp_path, ["north1", "north2", "south1"])
    (tmp_path / "data.yaml").write_text('train: images\nnames: [a, b, c]\ngroups: "(north|south)"\n')
    dataset = open_dataset(tmp_path)
    assert {sample.group for sample in dataset.splits["val"]} == {"south"}
    assert len(all_of(dataset)) == 3 * 48


def test_windows_without_labels_are_left_out(tmp_path, small_windows):
    root = large(tmp_path, ["scene"])
    values = read_raw_mask(root / "masks/scene.tif").copy()
    values[:50] = 255
    save(root / "masks/scene.tif", values)
    dataset = open_dataset(root)
    assert all(sample.window[1] > 50 for sample in all_of(dataset))
    assert "24 more whose mask is all void are left out" in " ".join(dataset.notes)
    assert not [finding for finding in audit(dataset).findings if finding.code == "D006"]


def test_small_images_and_other_formats_stay_whole(tmp_path, small_windows):
    large(tmp_path, ["tiny"], (64, 64))
    save(tmp_path / "images" / "photo.png", picture(1, (100, 120)))
    save(tmp_path / "masks" / "photo.tif", mask(1, (0, 1), (100, 120)))
    dataset = open_dataset(tmp_path)
    assert [sample.window for sample in all_of(dataset)] == [None, None]
    assert not any(note.startswith("Windows") for note in dataset.notes)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_check_reads_windows_and_tells_a_fault_once(tmp_path, small_windows, suffix):
    root = large(tmp_path, ["good", "narrow", "broken", "foreign"], suffix=suffix)
    save(root / "masks" / f"narrow{suffix}", mask(1, (0, 1, 2), (100, 119)))
    values = mask(1, (0, 1, 2), (100, 120))
    values[70, 80] = 77
    save(root / "masks" / f"foreign{suffix}", values)
    (root / "classes.txt").write_text("a\nb\nc\n")
    image = root / "images" / "broken.tif"
    image.write_bytes(image.read_bytes()[:20_000])
    save(root / "images" / "broken2.tif", picture(1, (100, 120)))
    dataset = open_dataset(root)
    found = {}
    for finding in audit(dataset).findings:
        found.setdefault((finding.code, finding.file.rpartition(".")[0]), []).append(finding)
    assert len(found["D004", "masks/narrow"]) == 1
    assert "the mask is 100 x 119" in found["D004", "masks/narrow"][0].found
    assert [finding.place for finding in found["D005", "masks/foreign"]] == ["y=70, x=80"]
    assert "D002" in {code for code, _ in found}
    assert not [name for code, name in found if name.endswith("good") and code != "D007"]


def test_numbers_of_a_check_are_those_of_the_whole(tmp_path, small_windows):
    root = large(tmp_path, ["a"], folder="train")
    large(tmp_path, ["b"], folder="val")
    result = audit(open_dataset(root))
    raw = read_raw_mask(root / "train/masks/a.tif")
    assert result.splits["train"].class_pixels == tuple(np.bincount(raw.ravel(), minlength=256)[:3])
    assert result.splits["train"].void_pixels == (raw == 255).sum()
    assert result.splits["train"].images == 48

import os

import numpy as np
import pytest
from generated_data import camvid, folder, mask, pair, picture, save, voc

from atrous.data.layouts import open_dataset
from atrous.data.masks import read_mask
from atrous.data.samples import Dataset
from atrous.labels import CAMVID, VOC


def told(dataset: Dataset) -> str:
    return "\n".join(dataset.notes)


def counts(dataset: Dataset) -> dict[str, int]:
    return {name: len(samples) for name, samples in dataset.splits.items()}


def names(dataset: Dataset, split: str) -> list[str]:
    return [sample.name for sample in dataset.splits[split]]


def assert_readable(dataset: Dataset) -> None:
    """Every mask reads without foreign values, and names are unique."""
    samples = [sample for part in dataset.splits.values() for sample in part]
    assert len({sample.name for sample in samples}) == len(samples)
    for sample in samples:
        if sample.mask is not None:
            read_mask(sample.mask, labels=dataset.labels, class_map=dataset.class_map)


def test_flat_folders_are_split_by_hash(tmp_path):
    dataset = open_dataset(folder(tmp_path))
    assert dataset.layout == "folder"
    assert counts(dataset) == {"train": 8, "val": 2}
    assert dataset.labels.names == ("class_0", "class_1", "class_2")
    assert dataset.class_map == {}
    assert "there are images/ and masks/" in told(dataset)
    assert "all 10 masks hold the values 0-2, 255" in told(dataset)
    assert open_dataset(tmp_path) == dataset
    assert_readable(dataset)


@pytest.mark.parametrize(
    ("images", "masks"),
    [("img", "labels"), ("JPEGImages", "annotations"), ("Images", "GT"), ("x", "y"), ("imgs", "voc_masks")],
)
def test_usual_folder_names(tmp_path, images, masks):
    assert counts(open_dataset(folder(tmp_path, images=images, masks=masks))) == {"train": 8, "val": 2}


@pytest.mark.parametrize(
    "shape", ["{split}/images {split}/masks", "images/{split} masks/{split}", "{split} {split}_masks"]
)
@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders(tmp_path, shape, val):
    for split, count in (("train", 3), (val, 2), ("test", 1)):
        images, masks = shape.format(split=split).split()
        folder(tmp_path, count, images=images, masks=masks)
    dataset = open_dataset(tmp_path)
    assert counts(dataset) == {"train": 3, "val": 2, "test": 1}
    assert_readable(dataset)
    assert not dataset.unpaired


def test_train_without_val_is_split(tmp_path):
    folder(tmp_path, 10, images="train/images", masks="train/masks")
    folder(tmp_path, 2, images="test/images", masks="test/masks")
    dataset = open_dataset(tmp_path)
    assert counts(dataset) == {"train": 8, "val": 2, "test": 2}
    assert "names no val split" in told(dataset)


def test_test_split_without_masks_is_for_prediction(tmp_path):
    folder(tmp_path, 4, images="train/images", masks="train/masks")
    save(tmp_path / "test" / "a.png", picture(0))
    dataset = open_dataset(tmp_path)
    assert [sample.mask for sample in dataset.splits["test"]] == [None]
    assert "test 1 (1 without mask)" in told(dataset)


@pytest.mark.parametrize("tail", ["_mask", "_gt", "-label", "_Mask"])
def test_mask_names_with_an_ending(tmp_path, tail):
    dataset = open_dataset(folder(tmp_path, tail=tail))
    assert len(dataset) == 10
    assert "an ending such as _mask" in told(dataset)


def test_names_with_beginnings(tmp_path):
    for index in range(4):
        save(tmp_path / "images" / f"image_{index}.png", picture(index))
        save(tmp_path / "masks" / f"gt_{index}.png", mask(index, (0, 1)))
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 4
    assert all(sample.image.stem[-1] == sample.mask.stem[-1] for part in dataset.splits.values() for sample in part)


@pytest.mark.parametrize("tail", ["_mask", ""])
def test_images_and_masks_side_by_side(tmp_path, tail):
    dataset = open_dataset(folder(tmp_path, images=".", masks=".", tail=tail))
    assert counts(dataset) == {"train": 8, "val": 2}
    assert "side by side" in told(dataset)


def test_suffixes_in_capitals_and_folders_inside(tmp_path):
    for patient in ("p1", "p2"):
        for slice_ in (1, 2):
            save(tmp_path / "images" / patient / f"{slice_}.JPG", picture(1))
            save(tmp_path / "masks" / patient / f"{slice_}.Png", mask(1, (0, 1)))
    dataset = open_dataset(tmp_path)
    assert counts(dataset) == {"train": 2, "val": 2}  # a patient is not parted
    assert {sample.group for sample in dataset.splits["train"]}.isdisjoint(
        sample.group for sample in dataset.splits["val"]
    )
    assert names(dataset, "train")[0].startswith("images/p")


def test_binary_masks_are_told(tmp_path):
    dataset = open_dataset(folder(tmp_path, values=(0, 255)))
    assert dataset.labels.names == ("background", "foreground")
    assert dataset.class_map == {255: 1}
    assert "255 is taken as class 1 (foreground), not as void" in told(dataset)
    sample = dataset.splits["train"][0]
    assert set(np.unique(read_mask(sample.mask, labels=dataset.labels, class_map=dataset.class_map))) == {0, 1}


def test_one_bit_masks(tmp_path):
    for index in range(4):
        save(tmp_path / "images" / f"{index}.png", picture(index))
        save(tmp_path / "masks" / f"{index}.png", mask(index, (False, True), dtype=bool))
    dataset = open_dataset(tmp_path)
    assert dataset.labels.num_classes == 2
    assert dataset.class_map == {}


@pytest.mark.parametrize("listed", ["classes.txt", "names.txt", "labels.txt"])
def test_names_from_a_list(tmp_path, listed):
    folder(tmp_path)
    (tmp_path / listed).write_text("# mine\nsky\nroad\n\ncar\ntree\n")
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("sky", "road", "car", "tree")
    assert f"because {listed} lists them" in told(dataset)


def test_one_name_for_binary_masks_is_the_foreground(tmp_path):
    folder(tmp_path, values=(0, 255))
    (tmp_path / "labels.txt").write_text("crack\n")
    assert open_dataset(tmp_path).labels.names == ("background", "crack")


def test_values_beyond_the_list_are_told(tmp_path):
    folder(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    assert "The masks also hold 2, which classes.txt does not name" in told(open_dataset(tmp_path))


def test_gaps_in_the_values_are_told(tmp_path):
    dataset = open_dataset(folder(tmp_path, values=(0, 2, 5)))
    assert dataset.labels.num_classes == 6
    assert "No mask that was read holds 1, 3-4" in told(dataset)


def test_frames_of_one_sequence_stay_together(tmp_path):
    for camera in range(5):
        for frame in range(4):
            pair(tmp_path, f"cam{camera}_{frame:04}", "images", "masks", seed=frame)
    dataset = open_dataset(tmp_path)
    assert counts(dataset) == {"train": 16, "val": 4}
    assert len({sample.group for sample in dataset.splits["val"]}) == 1
    assert "Groups: 5 (cam0, cam1, cam2, cam3, ...)" in told(dataset)


def test_order_is_natural(tmp_path):
    for index in (10, 2, 1):
        pair(tmp_path, f"f{index}", "train/images", "train/masks")
        pair(tmp_path, f"f{index}", "val/images", "val/masks")
    assert names(open_dataset(tmp_path), "train") == [f"train/images/f{index}" for index in (1, 2, 10)]


def test_system_and_hidden_files_are_not_seen(tmp_path):
    folder(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "._photo0x.jpg", "notes.txt"):
        (tmp_path / "images" / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 10
    assert not dataset.unpaired


def test_links_out_of_the_folder_are_not_followed_and_told(tmp_path):
    root = folder(tmp_path / "data")
    outside = save(tmp_path / "secret.png", picture(1))
    (root / "images" / "secret.png").symlink_to(outside)
    (root / "masks" / "secret.png").symlink_to(outside)
    (root / "images" / "circle").symlink_to(root / "images")
    dataset = open_dataset(root)
    assert len(dataset) == 10
    assert not dataset.unpaired
    assert "3 symbolic links not followed" in told(dataset)


def test_links_inside_the_folder_are_followed(tmp_path):
    folder(tmp_path, images="store/pictures", masks="store/marks")
    (tmp_path / "images").symlink_to(tmp_path / "store" / "pictures")
    (tmp_path / "masks").symlink_to(tmp_path / "store" / "marks")
    assert len(open_dataset(tmp_path)) == 10


def test_files_without_partner_are_listed(tmp_path):
    folder(tmp_path)
    extra = save(tmp_path / "images" / "extra.png", picture(0))
    lonely = save(tmp_path / "masks" / "lonely.png", mask(0, (0, 1)))
    dataset = open_dataset(tmp_path)
    assert set(dataset.unpaired) == {extra, lonely}
    assert "2 files without partner left out: images/extra.png, masks/lonely.png" in told(dataset)


def test_voc(tmp_path):
    dataset = open_dataset(voc(tmp_path))
    assert dataset.layout == "PASCAL VOC"
    assert counts(dataset) == {"train": 3, "val": 2}
    assert dataset.labels == VOC
    assert not dataset.unpaired
    assert len({sample.group for part in dataset.splits.values() for sample in part}) == 5
    assert_readable(dataset)


def test_voc_entries_without_mask_or_image_are_unpaired(tmp_path):
    voc(tmp_path)
    with (tmp_path / "ImageSets" / "Segmentation" / "train.txt").open("a") as file:
        file.write("2007_000027\n2009_999999\n")
    dataset = open_dataset(tmp_path)
    assert counts(dataset) == {"train": 3, "val": 2}
    assert dataset.unpaired == (
        tmp_path / "JPEGImages" / "2007_000027.jpg",
        tmp_path / "JPEGImages" / "2009_999999.jpg",
    )


def test_voc_with_trainval_alone_or_without_lists(tmp_path):
    voc(tmp_path)
    lists = tmp_path / "ImageSets" / "Segmentation"
    (lists / "trainval.txt").write_text((lists / "train.txt").read_text() + (lists / "val.txt").read_text())
    assert counts(open_dataset(tmp_path)) == {"train": 3, "val": 2}
    for name in ("train.txt", "val.txt"):
        (lists / name).unlink()
    by_hash = {"train": 4, "val": 1}
    assert counts(open_dataset(tmp_path)) == by_hash
    (lists / "trainval.txt").unlink()
    assert counts(open_dataset(tmp_path)) == by_hash


def test_voc_test_list_without_masks_is_for_prediction(tmp_path):
    voc(tmp_path)
    (tmp_path / "ImageSets" / "Segmentation" / "test.txt").write_text("2007_000027\n")
    dataset = open_dataset(tmp_path)
    assert [sample.mask for sample in dataset.splits["test"]] == [None]


def test_voc_with_own_classes(tmp_path):
    voc(tmp_path)
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\n" + "\n".join(f"c{i}" for i in range(20)))
    assert open_dataset(tmp_path).labels.names[:2] == ("_background_", "c0")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nback:0,0,0::\nroad:128,64,128::\n")
    labels = open_dataset(tmp_path).labels
    assert labels.names == ("back", "road")
    assert labels.palette == ((0, 0, 0), (128, 64, 128))


def test_camvid(tmp_path):
    dataset = open_dataset(camvid(tmp_path))
    assert dataset.layout == "CamVid"
    assert dataset.labels == CAMVID
    assert dataset.class_map == {11: 255}
    assert counts(dataset) == {"train": 5, "val": 2, "test": 1}
    assert [sample.group for sample in dataset.splits["train"]] == ["0001TP", "0001TP", "0006R0", "0016E5", "0016E5"]
    read = read_mask(dataset.splits["train"][0].mask, labels=dataset.labels, class_map=dataset.class_map)
    assert set(np.unique(read)) == {*range(11), 255}


def test_camvid_masks_without_void_are_known_by_their_names(tmp_path):
    assert open_dataset(camvid(tmp_path, values=(0, 1, 2))).layout == "CamVid"


def test_camvid_shape_with_other_values_is_a_plain_folder(tmp_path):
    dataset = open_dataset(camvid(tmp_path, values=(0, 1, 12)))
    assert dataset.layout == "folder"
    assert dataset.class_map == {}
    assert counts(dataset) == {"train": 5, "val": 2, "test": 1}
    assert "train/ has its masks in trainannot/" in told(dataset)


def test_camvid_shape_with_other_names_and_no_void_is_a_plain_folder(tmp_path):
    folder(tmp_path, 3, (0, 1), images="train", masks="trainannot")
    folder(tmp_path, 2, (0, 1), images="val", masks="valannot")
    assert open_dataset(tmp_path).layout == "folder"


def test_list_of_names_speaks_against_camvid(tmp_path):
    camvid(tmp_path)
    (tmp_path / "classes.txt").write_text("\n".join(f"c{index}" for index in range(12)))
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, dataset.labels.num_classes) == ("folder", 12)


@pytest.mark.skipif(os.name == "nt", reason="names of bytes exist on POSIX systems only")
def test_file_names_that_are_no_utf8(tmp_path):
    folder(tmp_path)
    odd = os.fsdecode(b"caf\xe9")
    pair(tmp_path, odd, "images", "masks")
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 11

"""Folders that cannot be used: each with a message that names what was found and the next step."""

import numpy as np
import pytest
from generated_data import folder, mask, picture, save, voc

from atrous.data.layouts import open_dataset
from atrous.errors import DataError


def message(path) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(path)
    return str(caught.value)


def test_path_that_does_not_exist(tmp_path):
    assert message(tmp_path / "none").startswith(f"{tmp_path / 'none'} does not exist; expected a folder")


def test_empty_folder(tmp_path):
    text = message(tmp_path)
    assert text.startswith(f"{tmp_path} is empty. Known layouts: a data.yaml; PASCAL VOC")
    assert "Put masks into a folder masks/ beside images/" in text


def test_folder_without_pictures(tmp_path):
    (tmp_path / "a.csv").write_text("1")
    (tmp_path / "b").mkdir()
    assert "holds 1 folder (b) and 1 file (1 .csv), and no pictures in it" in message(tmp_path)


@pytest.mark.parametrize("images", ["images", "."])
def test_images_without_masks(tmp_path, images):
    for index in range(3):
        save(tmp_path / images / f"{index}.jpg", picture(index))
    assert "3 pictures in all, but no masks for them were found" in message(tmp_path)


def test_masks_without_images(tmp_path):
    save(tmp_path / "masks" / "a.png", mask(0, (0, 1)))
    assert "but no images for the masks in masks/ were found" in message(tmp_path)


def test_mask_names_that_do_not_match(tmp_path):
    save(tmp_path / "images" / "cat.jpg", picture(0))
    save(tmp_path / "masks" / "dog.png", mask(0, (0, 1)))
    text = message(tmp_path)
    assert "1 images (cat.jpg, ...) and 1 masks (dog.png, ...), but no mask has the name of an image" in text


def test_voc_without_any_mask(tmp_path):
    voc(tmp_path)
    for path in (tmp_path / "SegmentationClass").iterdir():
        path.unlink()
    assert "was recognised as PASCAL VOC, but no image has a mask" in message(tmp_path)


def test_empty_voc_list(tmp_path):
    voc(tmp_path)
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("\n")
    assert "val.txt is empty; expected one image name a line" in message(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"), [("what is this\n", "expected lines such as"), ("a:0,0,0::\na:::\n", "twice")]
)
def test_unreadable_labelmap(tmp_path, content, text):
    voc(tmp_path)
    (tmp_path / "labelmap.txt").write_text(content)
    assert text in message(tmp_path)


def test_colour_masks_only(tmp_path):
    for index in range(3):
        save(tmp_path / "images" / f"{index}.jpg", picture(index))
        save(tmp_path / "masks" / f"{index}.png", picture(index))
    text = message(tmp_path)
    assert "of 3 masks, none is readable as class numbers" in text
    assert "a colour mask (RGB, " in text


def test_jpeg_masks_only(tmp_path):
    for index in range(3):
        save(tmp_path / "images" / f"{index}.jpg", picture(index))
        save(tmp_path / "masks" / f"{index}.jpg", mask(index, (0, 1)))
    assert "a JPEG mask" in message(tmp_path)


@pytest.mark.parametrize("values", [(0, 128), (0, 85, 170), (0, 85, 170, 255), tuple(range(256)), (0, 1, 254)])
def test_values_that_look_like_shades_of_grey(tmp_path, values):
    folder(tmp_path, values=values, count=3)
    if len(values) > 192:  # more values than a mask has pixels
        for path in (tmp_path / "masks").iterdir():
            save(path, np.resize(np.arange(256, dtype=np.uint8), (12, 32)))
    assert "look like shades of grey" in message(tmp_path)


def test_masks_of_void_only(tmp_path):
    assert "hold only the value 255, which is void" in message(folder(tmp_path, values=(255,)))


def test_two_images_of_one_name(tmp_path):
    folder(tmp_path)
    save(tmp_path / "images" / "photo0x.png", picture(0))
    assert "images holds both photo0x.jpg and photo0x.png; expected one picture of each name" in message(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"\n", "no name"), (b"a\na\n", "'a' twice"), (b"\xff\xfe", "UTF-8"), (b"x" * 1_000_001, "1 MB")],
)
def test_unreadable_list_of_names(tmp_path, content, text):
    folder(tmp_path)
    (tmp_path / "classes.txt").write_bytes(content)
    assert text in message(tmp_path)


def test_folder_above_the_data_names_the_right_one(tmp_path):
    voc(tmp_path / "VOC2012")
    assert "(VOC2012/ looks like PASCAL VOC: name that folder)" in message(tmp_path)


def test_file_that_is_no_data_yaml(tmp_path):
    path = save(tmp_path / "a.png", picture(0))
    assert f"{path} is a file; expected a folder or a data.yaml" in message(path)


def test_links_to_data_outside_are_told(tmp_path):
    folder(tmp_path / "real")
    (tmp_path / "linked").mkdir()
    for name in ("images", "masks"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "real" / name)
    assert "2 symbolic links that lead out of it were not followed" in message(tmp_path / "linked")

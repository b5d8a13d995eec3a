import json

import numpy as np
import pytest
from generated_data import camvid, folder, mask, picture, save, voc
from PIL import Image

from atrous.data.audit import Finding, audit
from atrous.data.layouts import open_dataset


def found(path) -> list[tuple[str, str]]:
    return [(finding.code, finding.file) for finding in audit(open_dataset(path)).findings]


def one(path, code: str) -> Finding:
    findings = [finding for finding in audit(open_dataset(path)).findings if finding.code == code]
    assert len(findings) == 1
    return findings[0]


@pytest.fixture
def clean(tmp_path):
    """Ten pairs of three classes and some void, in train and val, with their names."""
    folder(tmp_path, 7, images="train/images", masks="train/masks")
    folder(tmp_path, 3, images="val/images", masks="val/masks")
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    return tmp_path


def test_clean_data_has_no_findings(clean):
    result = audit(open_dataset(clean))
    assert result.findings == ()
    assert result.num_errors == 0


def test_summary_counts_pixels(clean):
    save(clean / "val" / "masks" / "photo0x.png", np.full((12, 16), 255, np.uint8))
    dataset = open_dataset(clean)
    result = audit(dataset)
    train, val = result.splits["train"], result.splits["val"]
    assert (train.images, val.images) == (7, 3)
    assert train.sizes == {(12, 16): 7}
    pixels = np.stack([np.asarray(Image.open(sample.mask)) for sample in dataset.splits["train"]])
    assert train.class_pixels == tuple(int((pixels == index).sum()) for index in range(3))
    assert train.void_pixels == (pixels == 255).sum()
    assert sum(train.class_shares) == pytest.approx(1)
    assert val.void_share > 1 / 3
    assert val.class_images == (2, 2, 2)
    report = json.loads(json.dumps(result.as_json()))
    assert report["splits"]["val"]["sizes"] == {"12x16": 3}
    assert report["findings"][0]["code"] == "D006"


def test_missing_mask_and_missing_image(clean):
    save(clean / "train" / "images" / "lone.png", picture(0))
    save(clean / "train" / "masks" / "left.png", mask(0, (0, 1)))
    findings = audit(open_dataset(clean)).findings
    assert [(finding.code, finding.file, finding.found) for finding in findings] == [
        ("D001", "train/images/lone.png", "an image without mask"),
        ("D001", "train/masks/left.png", "a mask without image"),
    ]


def test_listed_file_that_does_not_exist(tmp_path):
    voc(tmp_path)
    with (tmp_path / "ImageSets" / "Segmentation" / "val.txt").open("a") as file:
        file.write("2009_999999\n")
    finding = one(tmp_path, "D001")
    assert finding.file == "JPEGImages/2009_999999.jpg"
    assert "a list names it" in finding.found


@pytest.mark.parametrize(
    ("content", "text"), [(b"", "an empty file"), (b"no picture", "not an image"), (None, "truncated")]
)
def test_unreadable_image(clean, content, text):
    path = clean / "train" / "images" / "photo1x.jpg"
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    finding = one(clean, "D002")
    assert finding.file == "train/images/photo1x.jpg"
    assert text in finding.found
    assert finding.severity == "error"


def test_unreadable_colour_and_jpeg_masks(clean):
    masks = clean / "train" / "masks"
    (masks / "photo0x.png").write_bytes(b"")
    save(masks / "photo1x.png", picture(0))
    (masks / "photo2x.png").unlink()
    save(masks / "photo2x.jpg", mask(0, (0, 1)))
    findings = audit(open_dataset(clean)).findings
    assert [finding.code for finding in findings] == ["D003"] * 3
    assert [finding.found.split()[1] for finding in findings] == ["empty", "colour", "JPEG"]


def test_sizes_that_differ(clean):
    save(clean / "train" / "masks" / "photo3x.png", mask(0, (0, 1, 2), (11, 16)))
    save(clean / "train" / "masks" / "photo4x.png", mask(0, (0, 1, 2), (16, 12)))
    plain, turned = audit(open_dataset(clean)).findings
    assert plain.code == turned.code == "D004"
    assert plain.found == "the mask is 11 x 16 (height x width), its image train/images/photo3x.jpg is 12 x 16"
    assert "on its side" in turned.found


def test_image_turned_by_exif_against_its_mask(clean):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(clean / "train" / "images" / "photo0x.jpg", picture(0), exif=exif)
    assert "on its side" in one(clean, "D004").found


def test_values_outside_the_classes(clean):
    wrong = np.zeros((12, 16), np.uint8)
    wrong[3, 5:9] = 7
    save(clean / "val" / "masks" / "photo0x.png", wrong)
    finding = one(clean, "D005")
    assert str(finding) == (
        "D005 error: val/masks/photo0x.png (y=3, x=5): value 7 in 4 of 192 pixels; expected 0-2 or 255 (void). "
        "Correct the mask, or say in a data.yaml's `classes:` which class the value is (or ignore)."
    )


def test_mask_of_void_only_is_a_warning(clean):
    save(clean / "train" / "masks" / "photo0x.png", np.full((12, 16), 255, np.uint8))
    finding = one(clean, "D006")
    assert (finding.severity, finding.file) == ("warning", "train/masks/photo0x.png")


def test_classes_absent_from_a_split(clean):
    (clean / "classes.txt").write_text("sky\nroad\ncar\ntree\n")
    folder(clean, 3, (0, 1, 3), images="val/images", masks="val/masks")
    first, second = audit(open_dataset(clean)).findings
    assert (first.code, first.severity, first.file) == ("D007", "warning", "train")
    assert "no pixel of tree in the masks of train" in first.found
    assert "no pixel of car in the masks of val" in second.found


def test_drive_in_both_splits(tmp_path):
    finding = one(camvid(tmp_path), "D008")
    assert finding.severity == "warning"
    assert finding.found == "1 group in both: 0016E5 (2 and 2 images)"
    assert finding.file == "train and val"


def test_image_in_two_lists(tmp_path):
    voc(tmp_path)
    with (tmp_path / "ImageSets" / "Segmentation" / "val.txt").open("a") as file:
        file.write("2007_000032\n")
    assert "JPEGImages/2007_000032 (1 and 1 images)" in one(tmp_path, "D008").found


def test_all_faults_are_found_in_one_run_and_none_beside(clean):
    save(clean / "train" / "images" / "lone.png", picture(0))
    (clean / "train" / "images" / "photo0x.jpg").write_bytes(b"x")
    (clean / "train" / "masks" / "photo1x.png").write_bytes(b"x")
    save(clean / "train" / "masks" / "photo2x.png", mask(0, (0, 1), (3, 3)))
    save(clean / "train" / "masks" / "photo3x.png", mask(0, (0, 99, 98)))
    save(clean / "val" / "masks" / "photo0x.png", np.full((12, 16), 255, np.uint8))
    assert found(clean) == [
        ("D001", "train/images/lone.png"),
        ("D002", "train/images/photo0x.jpg"),
        ("D003", "train/masks/photo1x.png"),
        ("D004", "train/masks/photo2x.png"),
        ("D005", "train/masks/photo3x.png"),
        ("D005", "train/masks/photo3x.png"),
        ("D006", "val/masks/photo0x.png"),
    ]


def test_file_that_vanished_after_opening(clean):
    dataset = open_dataset(clean)
    dataset.splits["train"][0].image.unlink()
    assert [(finding.code, finding.found) for finding in audit(dataset).findings] == [("D002", "does not exist")]


@pytest.mark.parametrize("workers", [1, 3])
def test_order_of_findings_does_not_depend_on_threads(clean, workers):
    for index in range(7):
        (clean / "train" / "images" / f"photo{index}x.jpg").write_bytes(b"x")
    findings = audit(open_dataset(clean), workers=workers).findings
    assert [finding.file for finding in findings] == [f"train/images/photo{index}x.jpg" for index in range(7)]

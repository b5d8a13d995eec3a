import pytest
from generated_data import folder, pair

from atrous.data.layouts import open_dataset
from atrous.data.layouts.data_file import read_data_file
from atrous.errors import DataError

NAMES = "names: {0: back, 1: road, 2: car}\n"


def described(root, text):
    (root / "data.yaml").write_text(text)
    return open_dataset(root)


def test_folder_or_file_may_be_named(tmp_path):
    folder(tmp_path)
    by_folder = described(tmp_path, "train: images\n" + NAMES)
    assert by_folder.layout == "data.yaml"
    assert by_folder.labels.names == ("back", "road", "car")
    assert {name: len(part) for name, part in by_folder.splits.items()} == {"train": 8, "val": 2}
    assert open_dataset(tmp_path / "data.yaml") == by_folder


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{}/images", "{}/masks"),
        ("images/{}", "labels/{}"),
        ("{}", "{}annot"),
        ("{}", "{}_labels"),
        ("images/{}", "annotations/{}"),
    ],
)
def test_masks_are_found_beside(tmp_path, images, masks):
    text = NAMES
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        folder(tmp_path, count, images=images.format(split), masks=masks.format(split))
        text += f"{split}: {images.format(split)}\n"
    dataset = described(tmp_path, text)
    assert {name: len(part) for name, part in dataset.splits.items()} == {"train": 3, "val": 2, "test": 1}


def test_everything_at_once(tmp_path):
    data = tmp_path / "elsewhere"
    for drive in ("d1", "d2"):
        for frame in range(3):
            pair(data, f"{drive}-frame{frame}", "a", "b", (0, 1, 7, 9), seed=frame)
    (tmp_path / "set").mkdir()
    text = """
path: ../elsewhere
train: {images: a, masks: b}
names: [back, road, car]
ignore: 200
palette: {1: "#804080", 2: [1, 2, 3]}
classes: {7: car, 9: ignore}
groups: "^(d[0-9]+)-"
"""
    dataset = described(tmp_path / "set", text)
    assert dataset.root == data
    assert dataset.class_map == {7: 2, 9: 200}
    assert dataset.labels.ignore_index == 200
    assert dataset.labels.palette == ((0, 0, 0), (128, 64, 128), (1, 2, 3))
    assert {sample.group for sample in dataset.splits["val"]} in ({"d1"}, {"d2"})
    assert len(dataset.splits["val"]) == 3
    assert "Mask values are mapped as data.yaml says: 7 -> 2, 9 -> 200." in dataset.notes


def test_group_pattern_must_match_every_name(tmp_path):
    folder(tmp_path)
    with pytest.raises(DataError, match="finds nothing in the image name 'photo0x'"):
        described(tmp_path, "train: images\ngroups: '(drive[0-9])'\n" + NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images\nnmaes: {0: a}\n" + NAMES, "nmaes: unknown key; did you mean 'names'?"),
        ("train: {images: a, mask: b}\n" + NAMES, "train.mask: unknown key; did you mean 'masks'?"),
        ("train: images\n", "names: missing"),
        (NAMES, "there is no train, val or test"),
        ("train: images\nnames: {0: a, 2: b}", r"numbered \[0, 2\]; they must be 0, 1, 2"),
        ("train: images\nnames: {0: a, 1: a}", "the name 'a' stands twice"),
        ("train: images\nnames: {0: yes}", "True is no text; put it into quotes"),
        ("train: images\nnames: {0: a, 0: b}", "the key '0' stands twice"),
        ("train: images\nignore: 2\n" + NAMES, "ignore is 2, which is also the class 'car'"),
        ("train: images\nignore: -1\n" + NAMES, "ignore: Input should be greater than or equal to 0"),
        ("train: images\npalette: {1: red}\n" + NAMES, "'red' is no colour"),
        ("train: images\npalette: {9: '#000000'}\n" + NAMES, "colour for 9, which is no class"),
        ("train: images\nclasses: {7: bus}\n" + NAMES, "maps 7 to 'bus'; it must be one of 0: back, 1: road"),
        ("train: images\nclasses: {7: 3}\n" + NAMES, "maps 7 to 3"),
        ("train: images\nclasses: {'#804080': 1}\n" + NAMES, "classes.#804080.*valid integer"),
        ("train: images\ngroups: 'a'\n" + NAMES, "has no group in parentheses"),
        ("train: images\ngroups: '(a'\n" + NAMES, "is no regular expression"),
        ("train: images\ngroups: '((a+)+)$'\n" + NAMES, "too complex"),
        ("train: images\ngroups: '(.*.*.*.*)x'\n" + NAMES, "too complex"),
        ("- a\n- b\n", "the file holds list"),
        ("", "the file holds NoneType"),
        ("train: [unclosed", "cannot be used"),
        ("train: &a images\nval: *a\n" + NAMES, "aliases"),
        ("train: images\nnames: " + "[" * 100_000, "nested too deeply"),
        ("train: nowhere\n" + NAMES, "train names .*nowhere, which is not a folder"),
        ("train: {images: images, masks: nowhere}\n" + NAMES, "nowhere, which is not a folder"),
        ("train: alone\n" + NAMES, "no masks were found for the images of train"),
        ("x: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
    ],
)
def test_faults_in_the_file(tmp_path, text, message):
    folder(tmp_path, 2)
    folder(tmp_path, 2, images="alone", masks="other/things")
    with pytest.raises(DataError, match=message) as caught:
        described(tmp_path, text)
    assert str(tmp_path / "data.yaml") in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path):
    with pytest.raises(DataError, match=r"has 3 fault\(s\)(?s:.*)nc: unknown key(?s:.*)channels: unknown key"):
        described(tmp_path, "train: 3\nnc: 3\nchannels: 4\n" + NAMES)


def test_alias_bomb_is_refused_unbuilt(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12)]
    with pytest.raises(DataError, match="aliases"):
        described(tmp_path, "\n".join(lines))


def test_large_file_is_refused(tmp_path):
    (tmp_path / "data.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(DataError, match="more than 1 MB"):
        read_data_file(tmp_path / "data.yaml")


def test_text_that_is_no_utf8(tmp_path):
    (tmp_path / "data.yaml").write_bytes(b"train: caf\xe9")
    with pytest.raises(DataError, match="cannot be used: 'utf-8' codec"):
        read_data_file(tmp_path / "data.yaml")

"""Public sets, from tiny archives of the same shape on a server on this machine."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from generated_data import mask, picture, save, save_palette, voc
from hypothesis import given
from hypothesis import strategies as st

from atrous.claims import claimed
from atrous.data import public
from atrous.data.masks import read_mask
from atrous.data.public import open_data, open_voc_with_extra_masks
from atrous.data.sbd import mask_place, read_mat_mask, train_ids
from atrous.errors import DataError, MissingExtraError
from atrous.images import read_raw_mask
from loopback import Loopback, running, serve, status

EXTRA = ["2008_000008", "2008_000028"]


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with running() as loopback:
        yield loopback


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ATROUS_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder / "data"


def voc_root(folder: Path) -> Path:
    """VOC with 3 train, 2 val, and the photographs that SBD has masks of."""
    root = voc(folder)
    for name in EXTRA:
        save(root / "JPEGImages" / f"{name}.jpg", picture(3))
    return root


def packed(folder: Path, name: str, mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # pyright: ignore[reportCallIssue]
        archive.add(folder, name)
    return stream.getvalue()


def mat(path: Path, segmentation: np.ndarray) -> Path:
    scipy_io = pytest.importorskip("scipy.io")
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy_io.savemat(path, {"GTcls": {"Boundaries": 0, "Segmentation": segmentation, "CategoriesPresent": [1]}})
    return path


@pytest.fixture
def voc_tar(server, tmp_path, monkeypatch) -> bytes:
    root = voc_root(tmp_path / "made" / "VOC2012")
    (root / "Annotations").mkdir()
    (root / "Annotations" / "2007_000032.xml").write_text("<xml/>")
    content = packed(tmp_path / "made", "VOCdevkit", "w")
    place = {"address": f"{server.site}/voc.tar", "md5": hashlib.md5(content).hexdigest()}
    monkeypatch.setattr(public, "VOC_ARCHIVE", replace(public.VOC_ARCHIVE, **place))
    return content


@pytest.fixture
def sbd_tgz(server, tmp_path, monkeypatch) -> bytes:
    masks = tmp_path / "sbd" / "dataset" / "cls"
    # as SBD does, it has masks of images in VOC's train and val too
    for name in [*EXTRA, "2007_000032", "2007_000033"]:
        mat(masks / f"{name}.mat", mask(9, (0, 7)))
    mat(tmp_path / "sbd" / "dataset" / "inst" / f"{EXTRA[0]}.mat", mask(9, (0, 1)))
    (tmp_path / "sbd" / "dataset" / "train.txt").write_text("\n".join(EXTRA))
    content = packed(tmp_path / "sbd", "benchmark_RELEASE", "w:gz")
    place = {"address": f"{server.site}/benchmark.tgz", "md5": hashlib.md5(content).hexdigest()}
    monkeypatch.setattr(public, "SBD_ARCHIVE", replace(public.SBD_ARCHIVE, **place))
    return content


def keys(dataset, split) -> list[str]:
    return [Path(sample.name).name for sample in dataset.splits[split]]


def test_voc_is_fetched_and_unpacked_once(server, voc_tar, cache, monkeypatch):
    monkeypatch.setattr("atrous.download.FIRST_WAIT_SECONDS", 0)
    server.will(serve(voc_tar, breaks_after=4000), serve(voc_tar))
    notes, lines = [], []
    dataset = open_data("voc2012", note=notes.append, status=lambda text: lines.append(text()))
    assert dataset.layout == "PASCAL VOC"
    assert (keys(dataset, "train"), keys(dataset, "val")) == (
        ["2007_000032", "2007_000039", "2008_000001"],
        ["2007_000033", "2007_000042"],
    )
    assert dataset.root == cache / "VOC2012"
    assert {path.name for path in dataset.root.iterdir()} == {"ImageSets", "JPEGImages", "SegmentationClass"}
    assert [path.name for path in cache.iterdir()] == ["VOC2012"]
    assert public.VOC_ARCHIVE.address in notes[0]
    assert "ATROUS_CACHE" in notes[0]
    assert any(line.startswith("fetching") for line in lines)
    assert lines[-1].endswith(" 15 files")
    server.will(status(500))
    assert open_data("voc2012") == dataset
    assert server.ranges == []


def test_an_archive_that_was_put_there_is_taken_and_kept(server, voc_tar, cache):
    cache.mkdir(parents=True)
    (cache / "VOCtrainval_11-May-2012.tar").write_bytes(voc_tar)
    server.will(status(500))
    assert len(open_data("voc2012")) == 5
    assert server.ranges == []
    assert (cache / "VOCtrainval_11-May-2012.tar").is_file()


def test_a_folder_that_was_put_there_is_taken(tmp_path, cache):
    voc_root(tmp_path / "mine")
    cache.mkdir(parents=True)
    (cache / "VOC2012").symlink_to(tmp_path / "mine")
    assert len(open_data("voc2012")) == 5


def test_a_folder_with_the_name_comes_first(tmp_path):
    voc_root(tmp_path / "voc2012")
    notes = []
    assert open_data("voc2012", note=notes.append).root == Path("voc2012")
    assert "a folder here" in notes[0]
    assert open_data(tmp_path / "voc2012").layout == "PASCAL VOC"


@pytest.mark.parametrize("name", ["voc2012", "voc2012-aug"])
def test_without_a_network_it_says_what_to_fetch(name, cache):
    pytest.importorskip("scipy")
    with pytest.raises(DataError, match="not fetched") as caught:
        open_data(name)
    for part in (
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "6cd6e144f989b92b3379bac3b3de84fd",
        str(cache / "VOCtrainval_11-May-2012.tar"),
        str(cache / "VOC2012"),
    ):
        assert part in str(caught.value)


def test_another_archive_is_not_unpacked(server, voc_tar, cache):
    server.will(serve(voc_tar[:-1] + b"x"))
    with pytest.raises(DataError, match="another file"):
        open_data("voc2012")
    assert list(cache.iterdir()) == []


def test_two_do_not_unpack_at_once(voc_tar, cache):
    cache.mkdir(parents=True)
    with claimed(cache / "VOC2012"), pytest.raises(DataError, match="Another process is making"):
        open_data("voc2012")


def test_what_a_killed_process_left_is_removed(server, voc_tar, cache):
    (cache / ".atrous-0123" / "JPEGImages").mkdir(parents=True)
    server.will(serve(voc_tar))
    open_data("voc2012")
    assert [path.name for path in cache.iterdir()] == ["VOC2012"]


def test_an_unknown_name_is_a_path_that_is_not_there():
    with pytest.raises(DataError, match="does not exist"):
        open_data("voc2013")


def test_extra_masks_from_sbd(server, voc_tar, sbd_tgz, cache):
    server.will(serve(voc_tar), serve(sbd_tgz))
    notes = []
    dataset = open_data("voc2012-aug", note=notes.append)
    assert keys(dataset, "train") == ["2007_000032", "2007_000039", "2008_000001", *EXTRA]
    assert keys(dataset, "val") == ["2007_000033", "2007_000042"]
    root = cache / "VOC2012"
    places = {Path(sample.name).name: sample.mask for sample in dataset.splits["train"]}
    assert places["2007_000032"] == root / "SegmentationClass" / "2007_000032.png"
    assert places[EXTRA[0]] == root / "SegmentationClassAug" / f"{EXTRA[0]}.png"
    assert np.array_equal(read_raw_mask(root / "SegmentationClassAug" / f"{EXTRA[0]}.png"), mask(9, (0, 7)))
    for sample in dataset.splits["train"]:
        assert sample.mask is not None
        read_mask(sample.mask, labels=dataset.labels, class_map=dataset.class_map)
    assert dataset.unpaired == ()
    assert "the papers' trainaug has 10582" in " ".join(dataset.notes)
    assert sorted(path.name for path in cache.iterdir()) == ["VOC2012"]
    assert not [path for path in root.iterdir() if path.name.startswith(".")]
    server.will(status(500))
    assert open_data("voc2012-aug") == dataset
    assert keys(open_data("voc2012"), "train") == ["2007_000032", "2007_000039", "2008_000001"]
    assert server.ranges == []


def test_extra_masks_on_disk_need_no_scipy(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("atrous.data.sbd.importlib.import_module", _not_installed)
    root = voc_root(cache / "VOC2012")
    for name in [*EXTRA, "2007_000033"]:
        save_palette(root / "SegmentationClassAug" / f"{name}.png", mask(4, (0, 3)))
    dataset = open_data("voc2012-aug")
    assert len(dataset.splits["train"]) == 5
    assert dataset == open_voc_with_extra_masks(root)


def test_without_scipy_nothing_is_fetched(server, voc_tar, cache, monkeypatch):
    monkeypatch.setattr("atrous.data.sbd.importlib.import_module", _not_installed)
    server.will(serve(voc_tar))
    with pytest.raises(MissingExtraError, match=r"pip install 'atrous\[sbd\]'.*SegmentationClassAug"):
        open_data("voc2012-aug")
    assert server.ranges == []


def _not_installed(name):
    raise ImportError(name)


@pytest.mark.parametrize("missing", ["JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation/val.txt"])
def test_a_voc_that_lacks_a_part(tmp_path, missing):
    root = voc_root(tmp_path / "voc")
    save_palette(root / "SegmentationClassAug" / f"{EXTRA[0]}.png", mask(4, (0, 3)))
    (root / missing).rename(tmp_path / "away")
    with pytest.raises(DataError, match=f"has no {missing}"):
        open_voc_with_extra_masks(root)


def test_a_mask_without_photograph_is_told(tmp_path):
    root = voc_root(tmp_path / "voc")
    save_palette(root / "SegmentationClassAug" / "2011_999999.png", mask(4, (0, 3)))
    dataset = open_voc_with_extra_masks(root)
    assert [path.name for path in dataset.unpaired] == ["2011_999999.png"]


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_no_image_of_val_is_trained_on(extra, train, val):
    names = [[str(number) for number in numbers] for numbers in (extra, train, val)]
    found = train_ids(extra=names[0], voc_train=names[1], voc_val=names[2])
    assert found == sorted(set(found))
    assert set(found) == (set(names[0]) | set(names[1])) - set(names[2])


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("benchmark_RELEASE/dataset/cls/2008_000002.mat", "2008_000002.mat"),
        ("benchmark_RELEASE/dataset/inst/2008_000002.mat", None),
        ("benchmark_RELEASE/dataset/cls/readme.txt", None),
        ("benchmark_RELEASE/dataset/train.txt", None),
    ],
)
def test_what_is_taken_of_sbd(name, place):
    assert mask_place(PurePosixPath(name)) == (None if place is None else PurePosixPath(place))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_a_mat_mask(tmp_path, kind):
    expected = mask(5, (0, 20, 3), (7, 4))
    found = read_mat_mask(mat(tmp_path / "a.mat", expected.astype(kind)))
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "segmentation", [np.array([[21]], np.uint8), np.array([[-1]]), np.array([[0.5]]), np.zeros((2, 2, 2), np.uint8)]
)
def test_a_mat_that_is_no_mask(tmp_path, segmentation):
    with pytest.raises(DataError, match=r"a\.mat is no mask of SBD"):
        read_mat_mask(mat(tmp_path / "a.mat", segmentation))


def test_a_damaged_mat(tmp_path):
    content = mat(tmp_path / "a.mat", mask(5, (0, 1))).read_bytes()
    for broken in (b"", b"MATLAB", content[:150], content[:128] + bytes(400)):
        (tmp_path / "b.mat").write_bytes(broken)
        with pytest.raises(DataError, match="cannot be read"):
            read_mat_mask(tmp_path / "b.mat")

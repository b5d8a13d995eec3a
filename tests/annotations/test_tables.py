"""CSV tables, and the file of probabilities."""

import csv
import io

import numpy as np
import pytest

from atrous.annotations import TagsFile, write_regions, write_scores
from atrous.errors import OutputError
from atrous.labels import Labels
from atrous.regions import class_table, find_regions
from label_maps import LABELS

FORMULAS = ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\rx")


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def regions_of(path, label_map, labels, **options):
    write_regions(path, [region.as_row() for region in find_regions(label_map, labels, **options)])
    return read(path.read_bytes().decode())


def test_regions(tmp_path):
    label_map = np.array([[0, 0, 1]], np.uint8)
    rows = regions_of(tmp_path / "a.csv", label_map, LABELS, confidence=np.array([[0.5, 1, 0.25]], np.float32))
    assert [row["class_name"] for row in rows] == ["class_0", "class_1"]
    assert rows[0] == {
        "class_id": "0", "class_name": "class_0", "area_pixels": "2", "top": "0", "left": "0", "bottom": "1",
        "right": "2", "centroid_y": "0.0", "centroid_x": "0.5", "mean_confidence": "0.75",
    }  # fmt: skip


def test_physical_areas_have_columns_where_they_are_known(tmp_path):
    rows = regions_of(tmp_path / "a.csv", np.zeros((2, 2), np.uint8), LABELS, pixel_area=0.25, area_unit="ha")
    assert (rows[0]["area"], rows[0]["area_unit"]) == ("1.0", "ha")


def test_no_region_is_a_table_with_a_head(tmp_path):
    assert regions_of(tmp_path / "a.csv", np.full((2, 2), 255, np.uint8), LABELS) == []
    assert (tmp_path / "a.csv").read_text().startswith("class_id,class_name,area_pixels,top")


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_is_a_formula(name, tmp_path):
    (row,) = regions_of(tmp_path / "a.csv", np.zeros((2, 2), np.uint8), Labels(names=(name,)))
    assert row["class_name"] == f"'{name}"


@pytest.mark.parametrize("name", ["a,b", 'say "hi"', "two\nlines", "<script>", "", "a-b", "ü\udc80"])
def test_other_names_are_kept(name, tmp_path):
    (row,) = regions_of(tmp_path / "a.csv", np.zeros((2, 2), np.uint8), Labels(names=(name,)))
    assert row["class_name"] == name.replace("\udc80", "\\udc80")


def tags_of(maps, labels):
    stream = io.BytesIO()
    file = TagsFile(stream, labels)
    for name, label_map in maps.items():
        file.add(name, class_table(label_map, labels))
    file.finish()
    return read(stream.getvalue().decode())


def test_a_row_of_shares_for_every_image():
    mixed = np.zeros((10, 20), np.uint8)
    mixed[0, :2], mixed[1, :6], mixed[2, :] = 2, 1, 255
    rows = tags_of({"a.jpg": mixed, "sub/=b.jpg": np.full((2, 2), 255, np.uint8), "=c.jpg": mixed}, LABELS)
    assert rows[0] == {
        "file": "a.jpg", "tags": "class_0; class_1", "class_0": "0.860000", "class_1": "0.030000", "class_2": "0.010000",
    }  # fmt: skip
    assert rows[1] == {
        "file": "sub/=b.jpg", "tags": "", "class_0": "0.000000", "class_1": "0.000000", "class_2": "0.000000",
    }  # fmt: skip
    assert rows[2]["file"] == "'=c.jpg"


def test_tags_of_300_classes():
    labels = Labels.numbered(300)
    (row,) = tags_of({"a": np.full((2, 2), 299, np.uint16)}, labels)
    assert len(row) == 302
    assert row["tags"] == "class_299"


class TestScores:
    def strips(self, shape):
        scores = np.random.default_rng(0).random(shape).astype(np.float16)
        return scores, [np.ascontiguousarray(part.T) for part in np.array_split(scores, 3, axis=2)]

    def test_read_back(self, tmp_path):
        scores, strips = self.strips((3, 5, 7))
        write_scores(tmp_path / "a_scores.npz", iter(strips), (3, 5, 7), ("a", "<b>", "雪"))
        with np.load(tmp_path / "a_scores.npz", allow_pickle=False) as file:
            np.testing.assert_array_equal(file["scores"], scores)
            assert file["scores"].dtype == np.float16
            assert file["names"].tolist() == ["a", "<b>", "雪"]

    def test_the_same_scores_give_the_same_bytes(self, tmp_path):
        for name in "ab":
            write_scores(tmp_path / name, self.strips((2, 4, 6))[1], (2, 4, 6), ("x", "y"))
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_nothing_half_written_is_left(self, tmp_path):
        def failing():
            yield np.zeros((2, 4, 2), np.float16)
            raise RuntimeError("out of strips")

        with pytest.raises(RuntimeError, match="out of strips"):
            write_scores(tmp_path / "a.npz", failing(), (2, 4, 6), ("x", "y"))
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(OutputError):
            write_scores(tmp_path / "no" / "a.npz", [], (1, 1, 0), ("x",))

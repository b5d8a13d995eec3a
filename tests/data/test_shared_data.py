"""The development data, where it is on this machine."""

from dataclasses import replace

import pytest

from atrous.data.audit import audit
from atrous.data.layouts import open_dataset
from atrous.errors import DataError

pytestmark = pytest.mark.shared


def counts(dataset):
    return {name: len(samples) for name, samples in dataset.splits.items()}


def test_camvid(shared_data):
    dataset = open_dataset(shared_data / "camvid")
    assert dataset.layout == "CamVid"
    assert counts(dataset) == {"train": 367, "val": 101}
    assert sum(sample.group == "0016E5" for sample in dataset.splits["train"]) == 204
    some = {name: samples[::20] for name, samples in dataset.splits.items()}
    result = audit(replace(dataset, splits=some))
    assert result.num_errors == 0
    assert [finding.code for finding in result.findings] == ["D008"]


def test_coco_masks(shared_data):
    dataset = open_dataset(shared_data / "coco128-seg")
    assert counts(dataset) == {"train": 101, "val": 25}
    assert len(dataset.unpaired) == 2
    assert dataset.labels.num_classes == 21


def test_masks_of_other_sizes(shared_data):
    result = audit(open_dataset(shared_data / "formats" / "size_mismatch"))
    assert [finding.code for finding in result.findings] == ["D004"] * 5


def test_voc_layout_made_by_labelme(shared_data):
    dataset = open_dataset(shared_data / "formats" / "labelme" / "data_dataset_voc")
    assert (dataset.layout, len(dataset)) == ("PASCAL VOC", 3)
    assert audit(dataset).num_errors == 0


@pytest.mark.parametrize("name", ["camvid_tiny", "common_tiny/dataset", "common_tiny/non_standard_dataset"])
def test_colour_masks_are_explained(shared_data, name):
    with pytest.raises(DataError, match="a colour mask"):
        open_dataset(shared_data / "formats" / name)


def test_colour_mask_in_voc_layout_is_a_finding(shared_data):
    result = audit(open_dataset(shared_data / "formats" / "voc_tiny"))
    assert [finding.code for finding in result.findings] == ["D003"]


def test_photographs_beside_photographs_are_no_masks(shared_data):
    with pytest.raises(DataError, match="look like shades of grey"):
        open_dataset(shared_data / "formats" / "geotiff" / "different-types")

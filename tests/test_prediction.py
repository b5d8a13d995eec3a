"""Models and predictions as a library user meets them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import atrous
from atrous.errors import ConfigError, WeightsError


class Foreign(nn.Module):
    """Any module with logits (N, K, H, W)."""

    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Conv2d(3, classes, 1)

    def forward(self, image):
        return self.layer(image)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def test_a_prediction_has_the_images_size(image):
    net = atrous.models.deeplabv3plus_mobilenet_v2(num_classes=21, aspp_channels=8)
    result = atrous.Model(net, device="cpu").predict(image)
    assert result.label_map.shape == (37, 53)
    assert result.label_map.dtype == np.uint8
    assert result.scores.shape == (21, 37, 53)
    np.testing.assert_allclose(result.scores.sum(axis=0), 1, atol=1e-5)
    chosen = np.take_along_axis(result.scores, result.label_map[None].astype(np.int64), axis=0)[0]
    np.testing.assert_allclose(chosen, result.scores.max(axis=0), rtol=1e-5)  # of equal ones either is right
    assert result.overlay().shape[1:] == (53, 3)
    assert sum(row["area_pixels"] for row in result.table()) == 37 * 53
    assert result.polygons()[0]["type"] == "Feature"
    assert "<img" in result._repr_html_()


def test_any_module_is_a_model(image):
    model = atrous.Model(Foreign(5), device="cpu")
    assert model.labels.names == ("class_0", "class_1", "class_2", "class_3", "class_4")
    assert model.predict(image).label_map.shape == (37, 53)
    assert atrous.Model(Foreign(21), device="cpu").labels.names[15] == "person"
    with pytest.raises(WeightsError, match="Foreign cannot be saved"):
        model.save("x.safetensors")


def test_many_classes_need_16_bits(image):
    assert atrous.Model(Foreign(300), device="cpu").predict(image).label_map.dtype == np.uint16


def test_files_arrays_and_pillow_images_are_the_same(image, tmp_path):
    model = atrous.Model(Foreign(4), device="cpu")
    Image.fromarray(image).save(tmp_path / "a.png")
    first = model.predict(image).label_map
    assert np.array_equal(first, model.predict(tmp_path / "a.png").label_map)
    assert np.array_equal(first, model.predict(Image.fromarray(image)).label_map)


def test_saved_and_loaded_it_says_the_same(image, tmp_path):
    torch.manual_seed(0)
    net = atrous.models.deeplabv3_mobilenet_v2(num_classes=3, aspp_channels=8, output_stride=8)
    labels = atrous.Labels(names=("a", "b", "c"), palette=((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    model = atrous.Model(net, labels=labels, device="cpu")
    model.save(tmp_path / "m.safetensors")
    again = atrous.load(tmp_path / "m.safetensors", device="cpu")
    assert again.labels == labels
    assert torch.equal(model.coarse_logits(image).logits, again.coarse_logits(image).logits)


@pytest.mark.parametrize("array", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_arrays_of_another_form_are_refused(array):
    with pytest.raises(ValueError, match="expected uint8"):
        atrous.Model(Foreign(2), device="cpu").predict(array)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(WeightsError, match=r"no model\.safetensors"):
        atrous.load(tmp_path)


def test_a_device_that_is_none():
    with pytest.raises(ConfigError, match="expected auto, cpu"):
        atrous.Model(Foreign(2), device="abacus")


def test_the_public_names_are_these():
    assert sorted(atrous.__all__) == atrous.__all__
    for name in atrous.__all__:
        assert getattr(atrous, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        atrous.nothing  # noqa: B018

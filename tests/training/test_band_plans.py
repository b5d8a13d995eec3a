"""What is decided for images that are not RGB."""

from dataclasses import replace

import pytest
from test_plan import FACTS, dataset

from atrous.config import make_config
from atrous.data.statistics import BandStatistics
from atrous.errors import ConfigError
from atrous.images import PixelKind
from atrous.origin import Origin
from atrous.preprocessing import Preprocessing
from atrous.training.plan import make_plan

FIVE = Preprocessing.of_bands("uint16", ranges=((0.0, 9.0),) * 5, mean=(3.0,) * 5, std=(2.0,) * 5)


def plan(tmp_path, settings=None, *, bands=5, origin=None, constant=()):
    scaling = Preprocessing.of_bands("uint16", ranges=((0.0, 9.0),) * bands, mean=(3.0,) * bands, std=(2.0,) * bands)
    measured = BandStatistics(preprocessing=scaling, summary="9 pixels of 2 of 2 training images", constant=constant)
    config = make_config("auto", {"device": "cpu", "enlarge": 1, **(settings or {})})
    data = replace(dataset(tmp_path), pixels=PixelKind(bands=bands, dtype="uint16", is_photo=False))
    return make_plan(config, data, replace(FACTS, bands=measured), origin or Origin())


def test_network_scaling_and_augmentation_fit_the_bands(tmp_path):
    made = plan(tmp_path, constant=(2, 4))
    assert made.network["in_channels"] == 5
    assert made.preprocessing == replace(FIVE, pad_to=16)
    assert (made.augmentation.saturation, made.augmentation.tint) == (0, 0)
    assert (made.config.saturation, made.augmentation.brightness) == (0.25, 0.25)
    text = "\n".join(made.reasons)
    assert "9 pixels of 2 of 2 training images" in text
    assert "nothing can be learned from band 2, 4" in text


@pytest.mark.parametrize(
    ("bands", "weights", "frozen"), [(5, "auto", False), (1, "auto", True), (3, "auto", True), (1, "none", False)]
)
def test_a_stem_is_frozen_only_where_its_weights_know_such_images(bands, weights, frozen, tmp_path):
    assert plan(tmp_path, {"weights": weights}, bands=bands).freeze_stem is frozen


def test_what_is_frozen_against_better_knowledge_is_told(tmp_path):
    made = plan(tmp_path, {"freeze": "backbone"})
    assert any("is frozen with the rest, and knows nothing" in reason for reason in made.reasons)
    assert plan(tmp_path, {"freeze_stem": True}).freeze_stem


def test_the_weights_own_scaling_is_kept_where_it_is_of_such_images(tmp_path):
    own = Preprocessing.of_bands("uint16", ranges=((5.0, 6.0),) * 5, mean=(5.5,) * 5, std=(1.0,) * 5)
    origin = Origin(model="deeplabv3_resnet18", network={"in_channels": 5}, preprocessing=own)
    data = replace(dataset(tmp_path), pixels=PixelKind(bands=5, dtype="uint16", is_photo=False))
    config = make_config("auto", {"device": "cpu", "enlarge": 1})
    assert make_plan(config, data, FACTS, origin).preprocessing == replace(own, pad_to=16)
    assert (
        plan(tmp_path, origin=replace(origin, preprocessing=replace(own, pixels="float32"))).preprocessing.mean
        == FIVE.mean
    )


def test_weights_of_bands_go_on_with_rgb(tmp_path):
    origin = Origin(model="deeplabv3_resnet18", network={"in_channels": 5}, preprocessing=FIVE)
    made = make_plan(make_config("auto", {"device": "cpu", "enlarge": 1}), dataset(tmp_path), FACTS, origin)
    assert made.network["in_channels"] == 3
    assert made.preprocessing == Preprocessing(pad_to=16)


@pytest.mark.parametrize("value", [0, True, "some", 2.5])
def test_bands_are_a_word_or_a_number(value):
    with pytest.raises(ConfigError, match="bands"):
        make_config("auto", {"bands": value})


def test_bands_that_contradict_the_network_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"in_channels is 3, but the images are read as 5 bands of uint16"):
        plan(tmp_path, {"network": {"in_channels": 3}})

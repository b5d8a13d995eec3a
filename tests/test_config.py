"""Settings are checked at birth; what is unknown names the nearest."""

import pytest

from atrous.config import RECIPES, TrainConfig, make_config, parse_settings
from atrous.errors import ConfigError


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_valid(recipe):
    assert make_config(recipe, {}).recipe == recipe


def test_every_setting_is_described():
    assert all(field.description for field in TrainConfig.model_fields.values())


def test_the_classic_recipe_is_the_one_of_the_tutorials():
    config = make_config("classic", {})
    assert (config.model, config.freeze, config.optimizer) == ("deeplabv3_resnet101", "all-but-last", "adam")
    assert (config.rate, config.epochs, config.test_at_end) == (0.001, 10, True)


def test_settings_override_the_recipe():
    assert make_config("classic", {"epochs": 3}).epochs == 3


def test_minutes_replace_the_recipes_epochs():
    config = make_config("classic", {"minutes": 2})
    assert (config.minutes, config.epochs) == (2, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rat": 1}, "'learning_rat' is not known"),
        ({"wieght_decay": 1}, "did you mean 'weight_decay'"),
        ({"rate": -1}, "rate: Input should be greater than 0"),
        ({"epochs": 5, "minutes": 5}, "give one of them"),
        ({"scale": (2.0, 0.5)}, "the smaller first"),
        ({"crop": (8, 8)}, "at least 32 pixels"),
        ({"freeze": "some"}, "freeze"),
        ({"output_stride": 4}, "output_stride"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config("auto", settings)


def test_an_unknown_recipe_lists_the_known():
    with pytest.raises(ConfigError, match=r"expected one of: auto, classic.*did you mean 'classic'"):
        make_config("clasic", {})


def test_pairs_become_settings():
    parsed = parse_settings(["rate=0.001", "scale=0.5,2", "network.separable=true", "optimizer=sgd"])
    assert parsed == {"rate": 0.001, "scale": [0.5, 2], "network": {"separable": True}, "optimizer": "sgd"}


@pytest.mark.parametrize("pair", ["rate", "=3", "rate={", "network=1,]"])
def test_pairs_that_are_none_are_refused(pair):
    with pytest.raises(ConfigError, match="--set"):
        parse_settings([pair])

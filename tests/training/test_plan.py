"""What is decided, and that every decision is told."""

import pytest

from atrous.config import make_config
from atrous.data.samples import Dataset, Sample
from atrous.errors import ConfigError, DataError
from atrous.labels import Labels
from atrous.origin import Origin
from atrous.preprocessing import Preprocessing
from atrous.training.plan import Facts, make_plan


def dataset(tmp_path, images=20):
    samples = tuple(
        Sample(name=str(index), image=tmp_path / f"{index}.jpg", mask=None, group=str(index)) for index in range(images)
    )
    return Dataset(root=tmp_path, layout="test", labels=Labels(names=("a", "b", "c")), splits={"train": samples})


FACTS = Facts(sizes=[(360, 480)] * 20, class_pixels=[900, 90, 10])


def plan(tmp_path, settings=None, *, facts=FACTS, origin=None, images=20, recipe="auto"):
    config = make_config(recipe, {"device": "cpu", **(settings or {})})
    return make_plan(config, dataset(tmp_path, images), facts, origin or Origin())


def test_every_decision_has_its_reason(tmp_path):
    made = plan(tmp_path)
    text = "\n".join(made.reasons)
    for word in (
        "device cpu",
        "model deeplabv3plus_mobilenet_v2",
        "batch 8",
        "15 minutes",
        "crop 304x400",
        "class weights",
    ):
        assert word in text, text


def test_the_backbone_of_the_weights_decides_the_model(tmp_path):
    assert plan(tmp_path, origin=Origin(backbone="resnet18")).model == "deeplabv3plus_resnet18"
    made = plan(tmp_path, origin=Origin(model="deeplabv3_resnet34", network={"aspp_channels": 64}))
    assert (made.model, made.network["aspp_channels"]) == ("deeplabv3_resnet34", 64)


def test_pixels_are_scaled_as_the_weights_were_trained(tmp_path):
    half = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize="longest side", resize_to=513)
    made = plan(tmp_path, origin=Origin(model="deeplabv3_resnet18", preprocessing=half))
    assert made.preprocessing == Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert any("pixels are scaled" in reason for reason in made.reasons)
    assert plan(tmp_path).preprocessing == Preprocessing()


def test_the_stem_stays_frozen_only_where_there_are_weights_to_keep(tmp_path):
    assert plan(tmp_path).freeze_stem
    assert not plan(tmp_path, {"weights": "none"}).freeze_stem
    assert not plan(tmp_path, {"freeze_stem": False}).freeze_stem
    assert not plan(tmp_path, {"freeze": "backbone"}).freeze_stem


def test_a_resumed_run_may_name_an_imported_network(tmp_path):
    """`config.yaml` of a training from an imported model holds the other program's name."""
    assert plan(tmp_path, {"model": "smp/deeplabv3plus_resnet18"}).model == "smp/deeplabv3plus_resnet18"


def test_a_model_that_is_asked_for_is_built_as_published(tmp_path):
    assert plan(tmp_path, {"model": "deeplabv3plus_mobilenet_v2"}).network == {"num_classes": 3}


def test_rare_classes_weigh_more_and_the_mean_is_one(tmp_path):
    weights = plan(tmp_path).class_weights
    assert weights[0] < weights[1] < weights[2] <= 10
    mean = sum(w * n for w, n in zip(weights, FACTS.class_pixels, strict=True)) / 1000
    assert mean == pytest.approx(1)


def test_a_class_without_pixels_does_not_weigh_more_than_the_rarest(tmp_path):
    weights = plan(tmp_path, facts=Facts(sizes=FACTS.sizes, class_pixels=[900, 90, 0])).class_weights
    assert weights[2] == weights[1]


def test_a_small_set_is_one_batch(tmp_path):
    assert plan(tmp_path, images=3).batch == 3


def test_epochs_become_steps(tmp_path):
    assert plan(tmp_path, {"epochs": 3, "batch": 8}).expected_steps == 8  # 60 images in batches of 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 21}, "training set of 20 images"),
        ({"crop": (900, 1200)}, "larger than every image"),
        ({"model": "deeplabv4"}, "not known"),
        ({"device": "cuda:99"}, "cannot be used here"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path, settings)


def test_no_training_images(tmp_path):
    with pytest.raises(DataError, match="no training images"):
        plan(tmp_path, images=0)

"""What is decided, and that every decision is told."""

from dataclasses import replace

import numpy as np
import pytest

from atrous.config import make_config
from atrous.data.samples import Dataset, Sample
from atrous.errors import ConfigError, DataError
from atrous.labels import Labels
from atrous.origin import Origin
from atrous.preprocessing import Preprocessing
from atrous.training.plan import Facts, make_plan
from atrous.training.stages import stage_at


def dataset(tmp_path, images=20):
    samples = tuple(
        Sample(name=str(index), image=tmp_path / f"{index}.jpg", mask=None, group=str(index)) for index in range(images)
    )
    return Dataset(root=tmp_path, layout="test", labels=Labels(names=("a", "b", "c")), splits={"train": samples})


PRESENCE = np.ones((20, 3), np.bool_)
FACTS = Facts(sizes=[(360, 480)] * 20, class_pixels=[900, 90, 10], presence=PRESENCE)


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
    made = plan(tmp_path, {"enlarge": 1}, origin=Origin(model="deeplabv3_resnet18", preprocessing=half))
    assert made.preprocessing == Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), pad_to=16)
    assert any("pixels are scaled" in reason for reason in made.reasons)
    assert plan(tmp_path, {"enlarge": 1}).preprocessing == Preprocessing(pad_to=16)


def test_inputs_have_whole_strides_only_where_crops_have_them(tmp_path):
    assert plan(tmp_path, {"crop": (321, 321)}).preprocessing.pad_to == 1
    assert any("no multiple of 16" in reason for reason in plan(tmp_path, {"crop": (321, 320)}).reasons)


def test_small_images_are_enlarged_in_training_and_prediction(tmp_path):
    made = plan(tmp_path)
    assert made.preprocessing.size_for((360, 480)) == (518, 691)
    assert made.preprocessing.input_size((360, 480)) == (528, 704)
    assert made.augmentation.scale == (0.5, 2)
    assert made.config.crop == (304, 400)
    assert any("enlarged 1.44 times" in reason for reason in made.reasons)
    for sizes, factor in (([(500, 800)], 1), ([(1024, 2048)], 1), ([(64, 96)], 2)):
        made = plan(tmp_path, facts=replace(FACTS, sizes=sizes))
        assert made.config.enlarge == factor
    assert plan(tmp_path, {"enlarge": 1.25}).preprocessing.resize_scale == 1.25


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
    weights = plan(tmp_path, facts=replace(FACTS, class_pixels=[900, 90, 0])).class_weights
    assert weights[2] == weights[1]


def test_a_small_set_is_one_batch(tmp_path):
    assert plan(tmp_path, images=3).batch == 3


def test_epochs_become_steps(tmp_path):
    assert plan(tmp_path, {"epochs": 3, "batch": 8}).expected_steps == 8  # 60 images in batches of 8
    assert plan(tmp_path, {"steps": 5}).expected_steps == 5


def test_small_parts_get_other_norms_and_the_reason_is_told(tmp_path):
    made = plan(tmp_path, {"batch": 2}, origin=Origin(backbone="mobilenet_v2"))
    assert (made.network["norm"], made.stages[0].norms) == ("group-head", "backbone")
    assert sum("too few for batch statistics" in reason for reason in made.reasons) == 1
    made = plan(tmp_path, {"batch": 8, "accumulate": 4}, origin=Origin(backbone="mobilenet_v2"))
    assert made.network["norm"] == "group-head"
    whole = plan(tmp_path, {"batch": 4, "weights": "own.safetensors"}, origin=Origin(model="deeplabv3_resnet18"))
    assert (whole.start, whole.network.get("norm"), whole.stages[0].norms) == ("network", None, "all")
    assert "norm" not in plan(tmp_path).network


def test_a_plan_is_made_again_from_what_it_decided(tmp_path):
    """What resuming relies on: the settings of the run's config.yaml, and what the weights filled."""
    for settings in ({}, {"batch": 2}, {"batch": 2, "weights": "none"}, {"second_stage": 0.5, "epochs": 4}):
        made = plan(tmp_path, settings)
        again = make_plan(
            make_config("auto", made.config.model_dump(mode="json")),
            dataset(tmp_path),
            FACTS,
            Origin(model=made.model if made.start == "network" else None),
        )
        assert (again.network, again.stages, again.start) == (made.network, made.stages, made.start)
        assert again.config.model_dump(exclude={"recipe"}) == made.config.model_dump(exclude={"recipe"})


def test_the_papers_second_stage(tmp_path):
    made = plan(tmp_path, recipe="paper", settings={"crop": (320, 320)})
    first, second = made.stages
    assert (first.rate, first.norms, first.start, first.end) == (0.007, "none", 0, 0.5)
    assert (second.rate, second.norms, second.output_stride, second.end) == (0.001, "all", 8, 1)
    assert [first.progress(0.25), second.progress(0.75), second.progress(0.2)] == [0.5, 0.5, 0]
    assert [stage_at(made.stages, progress) for progress in (0, 0.49, 0.5, 1)] == [0, 0, 1, 1]
    assert made.network["output_stride"] == 16
    assert any("second stage" in reason for reason in made.reasons)


def test_rare_classes_are_named_where_they_are_favoured(tmp_path):
    made = plan(tmp_path, {"rare_crops": 0.5})
    assert any("rare classes (b, c)" in reason and "50% of crops" in reason for reason in made.reasons)
    assert made.rare is not None
    even = plan(tmp_path, {"paste": 0.5}, facts=replace(FACTS, class_pixels=[30, 30, 30]))
    assert even.rare is None
    assert any("no class is rare" in reason for reason in even.reasons)
    assert plan(tmp_path).rare is None


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

"""Keeping the frozen part's outputs changes nothing but the time."""

import numpy as np
import pytest
import torch

from atrous.config import make_config
from atrous.data.features import FeatureStore
from atrous.data.layouts import open_dataset
from atrous.data.loader import TrainingImages, batches
from atrous.losses import make_loss
from atrous.models.deeplab import build
from atrous.optim import make_optimizer
from atrous.preprocessing import Preprocessing
from atrous.training.cut import cut_for
from atrous.training.freezing import freeze, train_mode
from atrous.training.keeping import choose_keeping, keep_outputs
from atrous.training.steps import Stepper, choose_precision
from atrous.transforms import Augmentation

CPU = torch.device("cpu")
# Group norm: batch statistics of two pooled values are +1 and -1, and turn the last bit of an input into another curve.
SMALL = {"aspp_channels": 8, "decoder_channels": 8, "separable": True, "atrous_rates": (2, 4), "norm": "group-head"}


def images_of(scenes, *, views=2):
    dataset = open_dataset(scenes)
    return TrainingImages(
        dataset,
        dataset.splits["train"],
        augmentation=Augmentation(crop_size=(48, 64), brightness=0.2),
        preprocessing=Preprocessing(),
        seed=0,
        views=views,
    )


def stepper_of(what, until):
    torch.manual_seed(0)
    network = build("deeplabv3plus_mobilenet_v2", num_classes=8, **SMALL)
    freeze(network, what, until=until)
    train_mode(network, what, until=until, norms="all")
    return Stepper(
        network,
        make_optimizer(network, name="sgd", rate=0.02),
        cut=cut_for(network, what, until=until),
        loss=make_loss("cross_entropy"),
        precision=choose_precision(CPU),
        device=CPU,
    )


def kept_of(stepper, images, folder, *, made=None):
    store = FeatureStore(folder, limit=10**9)
    counted = [] if made is None else made

    def frozen(image):
        counted.append(1)
        return stepper.frozen(image)

    return keep_outputs(
        stepper.network,
        stepper.cut,
        images,
        store,
        frozen=frozen,
        note=lambda done, total: None,
        check=lambda: None,
    )


def losses_of(stepper, data, *, steps):
    torch.manual_seed(1)  # of dropout
    stream = batches(data, batch=2)
    return [stepper.step(next(stream), number=number).loss for number in range(steps)]


@pytest.mark.parametrize(("what", "until"), [("all-but-last", None), ("backbone", None), ("none", "stage4")])
def test_curves_agree_with_and_without(scenes, tmp_path, what, until):
    """50 steps over two views: to 1e-5 relative."""
    images = images_of(scenes)
    plain = losses_of(stepper_of(what, until), images, steps=50)
    stepper = stepper_of(what, until)
    kept = losses_of(stepper, kept_of(stepper, images, tmp_path), steps=50)
    np.testing.assert_allclose(kept, plain, rtol=1e-5)
    assert plain[-1] < plain[0]


def test_outputs_are_made_once_and_used_by_later_runs(scenes, tmp_path):
    images, made = images_of(scenes), []
    first = stepper_of("backbone", None)
    kept_of(first, images, tmp_path, made=made)
    assert len(made) == 2 * len(images)
    losses_of(first, images, steps=2)  # the trained part moves; the frozen one does not
    kept_of(first, images, tmp_path, made=made)
    kept_of(stepper_of("backbone", None), images, tmp_path, made=made)
    assert len(made) == 2 * len(images)
    kept_of(stepper_of("backbone", None), images_of(scenes, views=3), tmp_path, made=made)
    assert len(made) == 3 * len(images)


def test_other_weights_other_cuts_and_other_views_have_other_outputs(scenes, tmp_path):
    images, made = images_of(scenes, views=1), []
    kept_of(stepper_of("backbone", None), images, tmp_path, made=made)
    other = stepper_of("backbone", None)
    with torch.no_grad():
        next(other.network.backbone.parameters()).add_(1e-3)
    kept_of(other, images, tmp_path, made=made)
    kept_of(stepper_of("none", "stage4"), images, tmp_path, made=made)
    brighter = images_of(scenes, views=1)
    brighter.seed = 1
    kept_of(stepper_of("backbone", None), brighter, tmp_path, made=made)
    assert len(made) == 4 * len(images)


def test_without_room_there_is_nothing_kept(scenes, tmp_path):
    stepper = stepper_of("backbone", None)
    store = FeatureStore(tmp_path, limit=1000)
    arguments = {"frozen": stepper.frozen, "note": lambda done, total: None, "check": lambda: None}
    assert keep_outputs(stepper.network, stepper.cut, images_of(scenes), store, **arguments) is None
    assert not list(tmp_path.rglob("*.safetensors"))


def choose(settings, *, num_images=64, network=None, model="deeplabv3_resnet50"):
    reasons: list[str] = []
    config = make_config("auto", settings)
    keeping = choose_keeping(config, model, network or {}, crop=(513, 513), num_images=num_images, reasons=reasons)
    return keeping, reasons


def test_the_size_is_told_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    keeping, reasons = choose({"freeze": "backbone", "views": 1})
    assert keeping.keep
    assert keeping.bytes == pytest.approx(64 * 2048 * 65 * 65 * 4, rel=0.02)  # 35 MB an image
    assert "64 images x 1 view x 34.9 MB = 2.2 GB" in reasons[0]
    assert choose({"freeze": "all-but-last"})[0].bytes == pytest.approx(64 * 4 * 256 * 65 * 65 * 4, rel=0.07)
    half = choose({"freeze": "backbone", "views": 1, "cache_type": "bfloat16"})[0]
    assert half.bytes == pytest.approx(keeping.bytes / 2, rel=0.02)


def test_what_does_not_fit_is_computed_anew_and_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    keeping, reasons = choose({"freeze": "backbone", "cache_gb": 1})
    assert (keeping.keep, keeping.views) == (False, None)
    assert "computed anew every time" in reasons[0]
    assert "cache_gb=1 allows less" in reasons[0]
    assert not choose({"freeze": "backbone", "cache_gb": 0})[0].keep
    assert not choose({})[1]
    smp = choose({"freeze": "backbone"}, model="smp/deeplabv3plus_resnet18")
    assert "another program's network" in smp[1][0]
    assert "another stride" in choose({"freeze": "backbone", "second_stage": 0.5})[1][0]

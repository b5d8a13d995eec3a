"""A model from a file gives its weights' memory back as it predicts, and has them again when they are asked for."""

import gc
import os
import weakref

import numpy as np
import pytest
import torch

import atrous
from atrous import checkpoint
from atrous.engines import PlainEngine, TorchEngine
from atrous.errors import WeightsError
from atrous.prediction import Model, load


@pytest.fixture
def network():
    torch.manual_seed(0)
    return atrous.models.deeplabv3_mobilenet_v3_large(num_classes=5, aspp_channels=16).eval()


@pytest.fixture
def file(network, tmp_path):
    path = tmp_path / "model.safetensors"
    Model(network, device="cpu").save(path)
    return path


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (65, 97, 3), dtype=np.uint8)


def coarse(model, image):
    return model.coarse_logits(image).logits


@pytest.mark.parametrize("engine", ["auto", "torch", "plain"])
def test_it_says_what_the_network_says(network, file, image, engine):
    expected = coarse(Model(network, device="cpu", engine="plain"), image)
    model = load(file, device="cpu", engine=engine)
    for _ in range(2):
        torch.testing.assert_close(coarse(model, image), expected, rtol=1e-4, atol=1e-4)


def test_the_weights_are_gone_once_they_are_laid_out(file, image, monkeypatch):
    kept = []
    opened = checkpoint.load_model

    def watched(path):
        loaded = opened(path)
        kept.extend(weakref.ref(value) for value in loaded.network.parameters() if value.ndim == 4)
        return loaded

    monkeypatch.setattr(checkpoint, "load_model", watched)
    model = load(file, device="cpu", engine="torch")
    coarse(model, image)
    gc.collect()
    assert len(kept) > 50
    assert not any(reference() is not None for reference in kept)
    assert coarse(model, image[:33, :41]).shape[1] == 5  # another size, without them


def test_a_network_that_is_given_is_kept(network, image):
    model = Model(network, device="cpu", engine="torch")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    coarse(model, image)
    assert model.network is network
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_network_is_read_again_and_followed(network, file, image):
    model = load(file, device="cpu", engine="torch")
    first = coarse(model, image)
    again = model.network
    assert again is model.network
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in again.state_dict().items())
    torch.testing.assert_close(coarse(model, image), first, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        again.classifier[-1].bias += 3
    torch.testing.assert_close(coarse(model, image), first + 3, rtol=1e-4, atol=1e-4)


def test_it_can_be_saved_after_its_weights_were_given_back(file, image, tmp_path):
    model = load(file, device="cpu", engine="torch")
    coarse(model, image)
    model.save(tmp_path / "copy.safetensors")
    copied, original = (
        checkpoint.load_model(path).network.state_dict() for path in (tmp_path / "copy.safetensors", file)
    )
    assert all(torch.equal(copied[name], value) for name, value in original.items())


@pytest.mark.parametrize("change", ["replaced", "gone"])
def test_a_file_that_has_changed_is_not_taken_for_the_network(file, image, change):
    model = load(file, device="cpu", engine="torch")
    expected = coarse(model, image)
    if change == "gone":
        file.unlink()
    else:
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
        os.utime(file, ns=(1, 1))
    torch.testing.assert_close(coarse(model, image), expected)  # to predict, the file is not needed any more
    with pytest.raises(WeightsError, match="has changed since it was opened"):
        _ = model.network


def test_the_plain_engine_keeps_it(file):
    model = load(file, device="cpu", engine="plain")
    assert isinstance(model.engine, PlainEngine)
    assert model.engine.network is model.network


def test_a_network_that_cannot_be_followed_still_runs(image):
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.layer(x) if x.mean() > 0 else self.layer(-x)

    engine = TorchEngine(Odd(), device=torch.device("cpu"), owns=True)
    assert engine.coarse_logits(np.ones((8, 9, 3), np.float32)).shape == (1, 4, 8, 9)
    assert "cannot be followed" in engine.reason

"""A rehearsal leaves nothing behind, and its forecast adds up."""

import copy
import time

import pytest
import torch

from atrous import api
from atrous.memory import peak_memory
from atrous.training.forecast import Stopwatch, show_forecast
from atrous.training.loop import forecast
from atrous.training.narrator import Narrator
from atrous.training.rehearsal import rehearse
from atrous.training.run_folder import RunFolder
from atrous.training.trainer import Trainer

SETTINGS = {
    "model": "deeplabv3plus_mobilenet_v2",
    "network": {"aspp_channels": 8, "decoder_channels": 8, "separable": True, "atrous_rates": (2, 4)},
    "weights": "none",
    "batch": 2,
    "crop": (48, 64),
    "device": "cpu",
}


def prepared(scenes, **settings):
    return api._prepare(scenes, "auto", {**SETTINGS, **settings}, Narrator())


def moving_state(trainer):
    return copy.deepcopy(
        {
            "network": dict(trainer.network.state_dict()),
            "average": trainer.average.tensors,
            "optimizer": trainer.stepper.optimizer.state_dict(),
            "random": {"cpu": torch.get_rng_state()},
            "position": vars(trainer.position),
        }
    )


def test_everything_is_as_before(scenes, tmp_path):
    dataset, plan, network = prepared(scenes, epochs=3)
    trainer = Trainer(network, dataset, plan, RunFolder(tmp_path), Narrator(), None)
    before = moving_state(trainer)
    rehearse(trainer, 0.0)
    after = moving_state(trainer)
    for part in ("network", "average", "random"):
        assert before[part].keys() == after[part].keys()
        assert all(torch.equal(before[part][name], after[part][name]) for name in before[part])
    assert before["optimizer"] == after["optimizer"]
    assert before["position"] == after["position"]
    assert trainer.average.steps == 0
    assert not list(tmp_path.iterdir())


def test_the_forecast_adds_up(scenes):
    dataset, plan, network = prepared(scenes, epochs=10)
    told = forecast(network, dataset, plan, narrator=Narrator(), start=0.0)
    assert told.steps == 20
    assert told.epochs == 10
    assert told.validations == 10
    assert told.seconds > told.steps * told.step_seconds + told.validations * told.validation_seconds
    assert told.memory > 50 * 2**20
    assert told.disk > 4 * sum(v.numel() * 4 for v in network.parameters())
    text = "\n".join(show_forecast(told))
    for word in ("deeplabv3plus_mobilenet_v2", "2 a step", "48x64", "20 steps", "memory", "disk"):
        assert word in text
    assert told.as_json()["crop"] == [48, 64]


def test_a_timed_run_takes_its_minutes(scenes):
    dataset, plan, network = prepared(scenes, minutes=5)
    told = forecast(network, dataset, plan, narrator=Narrator(), start=time.monotonic())
    assert told.seconds == 300
    assert told.steps == pytest.approx(300 / told.step_seconds, rel=0.2)


def test_outputs_to_be_kept_are_counted_once(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    dataset, plan, network = prepared(scenes, epochs=10, freeze="backbone", views=3)
    told = forecast(network, dataset, plan, narrator=Narrator(), start=0.0)
    assert told.views == 3
    assert told.frozen_seconds > 0
    assert "frozen part" in "\n".join(show_forecast(told))
    assert not (tmp_path / "cache").exists()


def test_the_first_act_makes_ready_and_does_not_count():
    times = iter([0.0, 9.0, 10.0, 11.0, 20.0, 23.0])
    watch = Stopwatch(torch.device("cpu"), clock=lambda: next(times))
    for _ in range(3):
        watch.time(lambda: None)
    assert (watch.mean, watch.total) == (2.0, 13.0)


def test_peak_memory_is_this_process_es():
    peak = peak_memory(torch.device("cpu"))
    assert peak is None or 10**7 < peak < 10**12

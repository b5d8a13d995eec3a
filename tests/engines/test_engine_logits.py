"""Every engine gives the plain engine's logits, and keeps to the network that it was given."""

import copy

import numpy as np
import pytest
import torch
from engine_networks import NETWORKS, DecidesByValues, image, network_of
from torch import nn

from agreement import assert_agree
from atrous.engines import PlainEngine, TorchEngine
from atrous.engines.torch_engines import logits_of
from atrous.models import DeepLab
from random_weights import randomise

CPU = torch.device("cpu")
SIZES = [(61, 83), (96, 128), (33, 40), (130, 47)]
FOLLOWING = ["torch", "plain"]  # these run the network itself; the others a file that was made of it
ALL = [*FOLLOWING, "onnxruntime", "openvino"]


def plain(network):
    return PlainEngine(network, device=CPU)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("name", ALL)
def test_every_engine_gives_the_plain_logits(engine_of, name, kind):
    network = network_of(kind)
    engine = engine_of(name, network)
    assert engine.name == name
    assert engine.precision == "float32"
    assert engine.reason == "as asked"
    for size in SIZES:
        logits = engine.coarse_logits(image(*size))
        assert logits.dtype == torch.float32
        assert_agree(logits, plain(network).coarse_logits(image(*size)))


def test_the_plain_engine_is_the_network():
    for kind in NETWORKS:
        network = network_of(kind).train()
        batch = torch.from_numpy(image().transpose(2, 0, 1)[None])
        logits = plain(network).coarse_logits(image())
        assert not network.training
        with torch.no_grad():
            expected = network.coarse_logits(batch) if isinstance(network, DeepLab) else logits_of(network(batch))
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("name", ALL)
def test_an_image_has_its_own_logits_whatever_comes_with_it(engine_of, name, kind):
    engine = engine_of(name, network_of(kind))
    images = [image(seed=seed) for seed in range(3)]
    alone = [engine.coarse_logits(one) for one in images]
    for order in ([0, 1, 2], [2, 0], [1], [1, 1, 0]):
        together = engine.logits_of_many([images[index] for index in order])
        assert torch.equal(together, torch.cat([alone[index] for index in order]))
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize("name", ALL)
def test_an_image_is_not_changed_and_the_logits_are_the_callers(engine_of, name):
    engine = engine_of(name, network_of("foreign"))
    first = image()
    logits = engine.coarse_logits(first)
    kept = logits.clone()
    engine.coarse_logits(image(seed=1))
    assert torch.equal(logits, kept)
    assert np.array_equal(first, image())


def in_place(network):
    with torch.no_grad():
        next(network.parameters()).mul_(1.5)


def loaded(network):
    network.load_state_dict(randomise(copy.deepcopy(network), seed=9).state_dict())


def assigned(network):
    network.load_state_dict(randomise(copy.deepcopy(network), seed=9).state_dict(), assign=True)


def replaced(network):
    layer = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    layer.weight = nn.Parameter(layer.weight.detach() * 1.5)


def statistics(network):
    layer = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    assert layer.running_mean is not None
    layer.running_mean.add_(0.5)


def trained(network):
    network.train()
    network(torch.from_numpy(image().transpose(2, 0, 1)[None]).repeat(2, 1, 1, 1))


def stepped(optimizer, **options):
    def change(network):
        network.train()
        step = optimizer(network.parameters(), lr=0.1, **options)
        logits_of(
            network(torch.from_numpy(image().transpose(2, 0, 1)[None]).repeat(2, 1, 1, 1))
        ).square().mean().backward()
        step.step()

    change.__name__ = f"{optimizer.__name__} {options}"
    return change


STEPS = [
    stepped(torch.optim.SGD, momentum=0.9),
    stepped(torch.optim.SGD, foreach=True),
    stepped(torch.optim.AdamW, foreach=False),
    stepped(torch.optim.AdamW, fused=True),
]
CHANGES = [in_place, loaded, assigned, replaced, statistics, trained, *STEPS]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind", ["deeplab", "foreign"])
@pytest.mark.parametrize("name", FOLLOWING)
def test_when_the_weights_change_so_do_the_logits(engine_of, name, kind, change):
    network = network_of(kind)
    engine = engine_of(name, network)
    before = engine.coarse_logits(image())
    assert torch.equal(engine.coarse_logits(image()), before)
    change(network)
    after = engine.coarse_logits(image())
    assert (after - before).abs().max() > 1e-3
    assert_agree(after, plain(network).coarse_logits(image()))
    assert not network.training


def test_preparations_are_made_once_unless_the_weights_change(monkeypatch):
    from atrous.engines import torch_engines

    made = []
    real = torch_engines.simplify
    monkeypatch.setattr(torch_engines, "simplify", lambda network: made.append(network) or real(network))
    network = network_of("deeplab")
    engine = TorchEngine(network, device=CPU)
    assert made == []
    for size in SIZES:
        engine.coarse_logits(image(*size))
    assert len(made) == 1
    network.train()
    engine.coarse_logits(image())
    assert len(made) == 1
    in_place(network)
    engine.coarse_logits(image())
    assert len(made) == 2


def test_a_network_that_cannot_be_followed_runs_as_it_is_and_the_engine_says_so(engine_of):
    torch.manual_seed(0)
    network = randomise(DecidesByValues(), seed=2)
    engine = engine_of("torch", network)
    for sign in (1, -1):
        one = sign * (image() + 1)
        torch.testing.assert_close(engine.coarse_logits(one), plain(network).coarse_logits(one), rtol=0, atol=0)
    assert engine.reason.startswith("run as it is: its graph cannot be followed (DecidesByValues: TraceError: ")
    assert "\n" not in engine.reason
    in_place(network)
    torch.testing.assert_close(engine.coarse_logits(image()), plain(network).coarse_logits(image()), rtol=0, atol=0)


def test_a_network_that_nobody_else_has_is_let_go():
    network = network_of("deeplab")
    expected = [plain(network).coarse_logits(image(*size)) for size in SIZES]
    engine = TorchEngine(network, device=CPU, owns=True)
    del network
    for _ in range(2):
        for size, logits in zip(SIZES, expected, strict=True):
            assert_agree(engine.coarse_logits(image(*size)), logits)

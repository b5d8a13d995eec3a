"""Rates, groups and the running mean."""

import pytest
import torch

from atrous.models.deeplab import build
from atrous.optim import WeightAverage, make_optimizer, set_rate


def tiny():
    return build("deeplabv3plus_mobilenet_v2", num_classes=3, aspp_channels=8, decoder_channels=8, auxiliary=True)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_head_learns_faster_and_every_parameter_is_in_one_group(name):
    network = tiny()
    optimizer = make_optimizer(network, name=name, rate=0.1, head_factor=5, weight_decay=0.01)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(network.parameters()))
    assert {rates[id(p)] for p in network.backbone.parameters()} == {0.1}
    assert {rates[id(p)] for p in network.classifier.parameters()} == {0.5}
    set_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.05, 0.25}


def test_earlier_stages_learn_slower():
    network = tiny()
    optimizer = make_optimizer(network, name="sgd", rate=0.1, head_factor=5, layer_decay=0.5)
    rates = {id(p): group["full_rate"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(network.parameters()))
    stages = list(network.backbone.stages().values())
    for distance, modules in enumerate(reversed(stages)):
        own = {rates[id(p)] for module in modules for p in module.parameters()}
        assert own == {0.1 * 0.5**distance}
    assert {rates[id(p)] for p in network.classifier.parameters()} == {0.5}


def test_norms_biases_and_depthwise_kernels_do_not_decay():
    network = tiny()
    optimizer = make_optimizer(network, name="adamw", rate=0.1, weight_decay=0.01)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        plain = parameter.ndim <= 1 or parameter.shape[1] == 1
        assert decays[id(parameter)] == (0 if plain else 0.01), name


def test_a_frozen_network_cannot_be_optimised():
    network = tiny().requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        make_optimizer(network, name="sgd", rate=0.1)


def test_the_running_mean_is_the_formula():
    layer = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    average = WeightAverage(layer, decay=0.5)
    expected = 1.0
    for step, value in enumerate([2.0, 4.0, -1.0]):
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update(layer)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.tensors["weight"].item() == pytest.approx(expected)

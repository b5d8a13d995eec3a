"""Every network that atrous builds says the same when it is simplified, and when weights are laid out for this machine."""

import pytest
import torch
from torch import nn

from agreement import assert_agree
from atrous.foreign import FOREIGN_NETWORKS, build
from atrous.foreign.backbones import SamePadded
from atrous.inference import simplify, specialise
from atrous.models import NETWORKS
from fixed_networks import fill_fixed, fixed_numbers

PAIR, SINGLE = (2, 3, 51, 33), (1, 3, 57, 75)  # images, bands, height, width; networks are followed at 96x128
SETTINGS = [
    ("deeplabv3_resnet18", {"separable": True}),
    ("deeplabv3plus_resnet18", {"separable": True}),
    ("deeplabv3_resnet18", {"norm": "group-head"}),
    ("deeplabv3plus_mobilenet_v2", {"norm": "group-head"}),
    ("deeplabv3plus_resnet18", {"norm": "group"}),
    ("deeplabv3_mobilenet_v3_large", {"norm": "group"}),
    ("deeplabv3_resnet18", {"norm": "frozen"}),
    ("deeplabv3_resnet50", {"multi_grid": (1, 2, 4)}),
    ("deeplabv3_resnet18", {"multi_grid": (1, 2), "extra_blocks": 2}),
    ("deeplabv3_resnet18", {"auxiliary": True}),
    ("deeplabv3_resnet18", {"output_stride": 8}),
    ("deeplabv3plus_mobilenet_v2", {"output_stride": 32}),
    ("deeplabv3plus_mobilenet_v3_large", {"output_stride": 8, "dilate_first_unit": True}),
    ("deeplabv3_mobilenet_v2", {"image_pooling": False}),
    ("deeplabv3_mobilenet_v2", {"atrous_rates": ()}),
    ("deeplabv3_mobilenet_v2", {"atrous_rates": (), "image_pooling": False}),
    ("deeplabv3_mobilenet_v2", {"atrous_rates": (1, 2, 3, 4, 5)}),
    ("deeplabv3_mobilenet_v2", {"in_channels": 1}),
    ("deeplabv3plus_resnet18", {"in_channels": 5}),
    ("deeplabv3_resnet18", {"extra_conv": False}),
]


def small(name, **settings):
    """The network with five classes and narrow heads, and fixed weights and statistics."""
    with torch.device("meta"):
        network = build(name, num_classes=5, aspp_channels=32, **settings)
    fill_fixed(network)
    return network.eval()


def picture_of(network, shape):
    count, _, *size = shape
    return fixed_numbers((count, network.settings["in_channels"], *size), sum(size))


@torch.inference_mode()
def assert_stays_what_it_is(network, *, run_on=(PAIR,)):
    """Simplified, and then specialised, it gives its own logits; returns the simplified one's layers and calls."""
    pictures = [picture_of(network, shape) for shape in run_on]
    expected = [network.coarse_logits(picture) for picture in pictures]
    module = simplify(network)
    layers, calls = list(module.modules()), [(node.op, node.target) for node in module.graph.nodes]
    assert_agree(module(pictures[0]), expected[0])
    specialised = specialise(module, picture_of(network, SINGLE), filtered=False)
    assert specialised.choices == ()
    for picture, logits in zip(pictures, expected, strict=True):
        assert_agree(specialised.module(picture), logits)
    return layers, calls


def is_left(layer):
    return isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd | nn.Identity)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name):
    layers, calls = assert_stays_what_it_is(small(name), run_on=(PAIR, SINGLE))
    assert not any(map(is_left, layers))
    assert ("call_method", "expand") not in calls  # ASPP's pooling is no map of all pixels any more


@pytest.mark.parametrize("name", FOREIGN_NETWORKS)
def test_every_network_of_other_programs(name):
    layers, calls = assert_stays_what_it_is(small(name))
    padded = sum(
        isinstance(layer, SamePadded) for layer in layers
    )  # their norms stay, as they are no plain convolutions
    assert sum(map(is_left, layers)) == padded == (4 if name.startswith("tensorflow/") else 0)
    has_wide_projection = name.startswith("mmseg/")
    assert (("call_method", "expand") in calls) == has_wide_projection


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=str)
def test_every_setting(name, settings):
    network = small(name, **settings)
    layers, _ = assert_stays_what_it_is(network)
    assert not any(map(is_left, layers))
    groups = sum(isinstance(layer, nn.GroupNorm) for layer in network.modules())
    assert sum(isinstance(layer, nn.GroupNorm) for layer in layers) == groups


def test_double_precision_stays_double():
    network = small("deeplabv3plus_mobilenet_v2").double()
    picture = fixed_numbers(SINGLE, 3).double()
    module = simplify(network)
    with torch.inference_mode():
        expected = network.coarse_logits(picture)
        torch.testing.assert_close(module(picture), expected, rtol=1e-9, atol=1e-9)
        module = specialise(module, picture.float(), filtered=False).module
        torch.testing.assert_close(module(picture), expected, rtol=1e-9, atol=1e-9)


def test_nothing_leaves_the_networks_device():
    with torch.device("meta"):
        network = build("deeplabv3_resnet18", num_classes=5)
    module = simplify(network)
    tensors = [*module.parameters(), *module.buffers()]
    assert len(tensors) > 40
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.parametrize("norm", ["batch", "group", "frozen"])
def test_the_network_is_not_changed_and_goes_on_training(norm):
    network = small("deeplabv3plus_mobilenet_v2", norm=norm, auxiliary=True).train()
    network.backbone.eval()
    network.backbone.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = {name: layer.training for name, layer in network.named_modules()}
    kinds = {name: type(layer) for name, layer in network.named_modules()}
    grads = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    picture = fixed_numbers(PAIR, 3)
    with torch.no_grad():
        module = specialise(simplify(network), picture[:1], filtered=False).module
        module(picture)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name: layer.training for name, layer in network.named_modules()} == modes
    assert {name: type(layer) for name, layer in network.named_modules()} == kinds
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == grads
    logits, auxiliary = network.forward_with_auxiliary(picture)
    assert auxiliary is not None
    (logits.sum() + auxiliary.sum()).backward()
    assert {name: parameter.grad is not None for name, parameter in network.named_parameters()} == grads


def test_the_simplified_network_is_in_eval_mode_whatever_the_network_is():
    network = small("deeplabv3_mobilenet_v2", norm="group-head").train()
    module = simplify(network)
    picture = fixed_numbers(SINGLE, 3)
    with torch.inference_mode():
        assert_agree(module(picture), network.eval().coarse_logits(picture))
        assert torch.equal(module(picture), module(picture))

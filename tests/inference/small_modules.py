"""Small networks with whatever a test is about between their layers, and whether they stay what they are."""

import torch
from torch import nn

from agreement import assert_agree
from atrous.inference import simplify, specialise
from atrous.inference.convolution import FusedConv2d
from fixed_networks import fixed_numbers
from random_weights import randomise

PICTURE = (2, 3, 37, 29)


class Small(nn.Module):
    """Four channels all the way, with layers to choose from; `body` is what a test is about."""

    def __init__(self, body, **layers):
        super().__init__()
        self.body = body
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.a, self.b = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.norm, self.other_norm = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.relu, self.relu_in_place = nn.ReLU(), nn.ReLU(inplace=True)
        self.last = nn.Conv2d(4, 5, 1)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, image):
        return self.last(self.body(self, self.stem(image)))


def of(body, **layers):
    network = Small(body, **layers)
    randomise(network, seed=3)
    return network


@torch.inference_mode()
def simplified(network, shape=PICTURE):
    """The simplified network, which gives the logits of `network` before and after it is specialised."""
    picture = fixed_numbers(shape, 4)
    expected = network(picture.clone())
    given = picture.clone()
    module = simplify(network)
    assert_agree(module(given), expected)
    assert torch.equal(given, picture), "the image was changed"
    for owns in (False, True):  # the second time the network's weights may be used up
        specialised = specialise(simplify(network), picture[:1].clone(), filtered=False, owns=owns).module
        for _ in range(2):
            assert_agree(specialised(picture.clone()), expected)
    return module


def count(module, kind):
    """How often a layer of that kind is called."""
    calls = [node for node in module.graph.nodes if node.op == "call_module"]
    return sum(isinstance(module.get_submodule(call.target), kind) for call in calls)


def overwriting(module):
    """Of every sum that a convolution has taken in, whether it takes the place of its other term."""
    layers = [module.get_submodule(n.target) for n in module.graph.nodes if n.op == "call_module" and len(n.args) == 2]
    assert all(isinstance(layer, FusedConv2d) for layer in layers)
    return [layer.overwrites for layer in layers]

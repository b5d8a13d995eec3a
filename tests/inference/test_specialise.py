"""A specialised network says what the simplified one says, whichever way its convolutions are computed."""

import importlib
from functools import partial

import pytest
import torch
from torch import nn

from agreement import assert_agree
from atrous.inference import simplify, specialise
from atrous.inference.convolution import FusedConv2d
from atrous.models import build
from atrous.polyphase import choice as trials
from atrous.polyphase.choice import Choice
from atrous.polyphase.layer import PolyphaseConv2d
from atrous.polyphase.plain import PlainConv2d
from fixed_networks import fill_fixed, fixed_numbers

ways = importlib.import_module("atrous.inference.specialise")  # its name in the package is the function's
SIZES = ((1, 65, 97), (2, 50, 33), (1, 130, 70))  # images, height, width


@pytest.fixture
def numba():
    pytest.importorskip("numba", reason="the compiled ways need Numba (the extra `fast`)")


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(trials, "_found", {})


@pytest.fixture
def choose_always(monkeypatch):
    """Let every convolution be computed by the given scheme, which is `faster` times as fast; returns what was asked."""

    def always(scheme, *, faster=2.0):
        asked = []

        def choose(conv, height, width, *, relu, most_bytes, image):
            asked.append((conv, height, width, most_bytes))
            if scheme == "shifted":
                module = PlainConv2d(conv, relu=relu, shifted=True)
            elif scheme == "plain":
                module = PlainConv2d(conv, relu=relu)
            else:
                module = PolyphaseConv2d(conv, scheme, scheme, relu=relu)
            return Choice(module=module, name=scheme, reason="as the test says")

        monkeypatch.setattr(ways, "choose", choose)
        monkeypatch.setattr(ways, "_times_as_fast", lambda usual, other, shape: faster)
        monkeypatch.setattr(ways, "is_available", lambda: True)
        return asked

    return always


def network_of(name="deeplabv3_mobilenet_v2", **settings):
    """Four convolutions of 3x3 with stride 1 in ASPP and after it, and one with stride 2."""
    with torch.device("meta"):
        network = build(name, num_classes=5, aspp_channels=16, **settings)
    fill_fixed(network)
    return network.eval()


def picture(count=1, height=65, width=97):
    return fixed_numbers((count, 3, height, width), height)


@torch.inference_mode()
def assert_same_at_all_sizes(network, module):
    for size in SIZES:
        image = picture(*size)
        assert_agree(module(image), network.coarse_logits(image))


def switched(module):
    return [layer for layer in module.modules() if isinstance(layer, ways.SwitchedConv2d)]


@pytest.mark.parametrize("scheme", ["F4", "F6", "shifted"])
def test_all_the_other_way(numba, choose_always, scheme):
    network = network_of()
    asked = choose_always(scheme)
    specialised = specialise(simplify(network), picture(), filtered=True, most_bytes=77)
    assert len(switched(specialised.module)) == len(specialised.choices) == len(asked) == 4
    assert all(one.way == scheme and one.faster == 2.0 for one in specialised.choices)
    assert {(height, width, limit) for _, height, width, limit in asked} == {(5, 7, 77)}
    layers = [specialised.module.get_submodule(one.layer) for one in specialised.choices]
    sizes = [getattr(layer.faster, "weight_bytes", 0) for layer in layers]
    assert [one.bytes for one in specialised.choices] == sizes
    assert specialised.bytes == sum(sizes)
    assert (specialised.bytes > 0) == (scheme != "shifted")
    assert_same_at_all_sizes(network, specialised.module)


def test_a_layer_is_asked_about_the_map_that_it_reads(choose_always):
    asked = choose_always("plain")
    module = simplify(network_of("deeplabv3_resnet18"))
    specialise(module, picture(1, 65, 97), filtered=True)
    assert {(h, w) for _, h, w, _ in asked} == {(17, 25), (9, 13), (5, 7)}


@pytest.mark.parametrize(("faster", "taken"), [(1.06, 4), (1.04, 0), (0.5, 0)])
def test_only_a_way_that_is_clearly_faster_is_taken(numba, choose_always, faster, taken):
    choose_always("F4", faster=faster)
    network = network_of()
    specialised = specialise(simplify(network), picture(), filtered=True)
    assert len(switched(specialised.module)) == len(specialised.choices) == taken


def test_where_the_plain_way_is_chosen_nothing_changes(choose_always):
    choose_always("plain")
    specialised = specialise(simplify(network_of()), picture(), filtered=True)
    assert specialised.choices == ()
    assert specialised.bytes == 0
    assert switched(specialised.module) == []


def test_unless_asked_for_or_without_numba_nothing_is_tried(choose_always, monkeypatch):
    asked = choose_always("shifted")
    specialise(simplify(network_of()), picture(), filtered=False)
    monkeypatch.setattr(ways, "is_available", lambda: False)
    specialise(simplify(network_of()), picture(), filtered=True)
    assert asked == []


def test_only_convolutions_alone_or_with_relu_are_tried(choose_always):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.alone, self.relued, self.clipped, self.summed, self.late = (
                nn.Conv2d(3, 3, 3, padding=1) for _ in range(5)
            )
            self.small = nn.Conv2d(3, 3, 1)
            self.relu, self.relu6 = nn.ReLU(), nn.ReLU6()

        def forward(self, x):
            x = self.alone(x)
            y = self.clipped(torch.tanh(x))
            y = self.summed(self.relu6(y)) + x
            return self.small(self.relu(self.relued(y))) * self.late(torch.tanh(y))

    network = Net().eval()
    weights = {parameter.data_ptr(): name.removesuffix(".weight") for name, parameter in network.named_parameters()}
    asked = choose_always("shifted")
    specialised = specialise(simplify(network), picture(), filtered=True)
    assert {weights[conv.weight.data_ptr()] for conv, *_ in asked} == {"alone", "relued", "late"}
    with torch.inference_mode():
        assert_agree(specialised.module(picture()), network(picture()))


@pytest.mark.parametrize(
    ("scheme", "size", "way"),
    [
        ("P3", (18, 18), "faster"),
        ("P3", (3, 5), "faster"),
        ("P3", (19, 18), "usual"),
        ("P3", (18, 40), "usual"),
        ("P2", (12, 12), "faster"),
        ("P2", (13, 12), "usual"),
        ("F4", (100, 7), "faster"),
        ("F6", (1, 1), "faster"),
    ],
)
def test_where_the_scheme_does_not_fit_the_map_it_is_the_usual_convolution(numba, scheme, size, way):
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, padding=6, dilation=6).requires_grad_(False)
    layer = ways.SwitchedConv2d(FusedConv2d(conv, "relu"), PolyphaseConv2d(conv, scheme, scheme, relu=True))
    calls = []
    for name in ("usual", "faster"):
        getattr(layer, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    x = fixed_numbers((2, 16, *size), 3)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), conv(x).relu(), rtol=0, atol=1e-4)
    assert calls == [way]


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v2", "deeplabv3plus_resnet18"])
def test_real_trials(numba, monkeypatch, name):
    """Whatever is found to be the fastest here."""
    monkeypatch.setattr(ways, "choose", partial(trials.choose, seconds=0.001))
    network = network_of(name)
    specialised = specialise(simplify(network), picture(), filtered=True)
    assert trials.found_choices()
    assert all(one.faster >= 1 + ways.MARGIN for one in specialised.choices)
    assert_same_at_all_sizes(network, specialised.module)

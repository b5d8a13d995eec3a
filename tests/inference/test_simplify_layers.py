"""Layers of every kind: simplified, a network with them gives its own logits."""

import pytest
import torch
from small_modules import Small, count, of, simplified
from torch import nn
from torch.nn import functional


class NormAndSquare(nn.BatchNorm2d):
    """As another library's, which does more than to normalise."""

    def forward(self, input):
        return super().forward(input) ** 2


def test_a_norm_of_another_library_is_left_alone():
    module = simplified(of(lambda net, x: net.square(net.a(x)), square=NormAndSquare(4)))
    assert count(module, NormAndSquare) == 1


def test_a_norm_without_running_statistics_is_left_alone():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    network = Small(lambda net, x: net.free(net.a(x)), free=norm).eval()
    assert count(simplified(network), nn.BatchNorm2d) == 1


def test_a_norm_without_weights_is_folded():
    norm = nn.BatchNorm2d(4, affine=False)
    norm.load_state_dict(
        {
            "running_mean": torch.tensor([0.3, -0.1, 0.2, 0.05]),
            "running_var": torch.tensor([0.5, 1.5, 2.0, 0.7]),
            "num_batches_tracked": torch.tensor(1),
        }
    )
    network = Small(lambda net, x: net.free(net.a(x)), free=norm).eval()
    assert count(simplified(network), nn.BatchNorm2d) == 0


def test_a_second_norm_and_a_norm_without_a_convolution():
    simplified(of(lambda net, x: net.other_norm(net.norm(net.a(x)))))
    module = simplified(of(lambda net, x: net.a(net.norm(torch.tanh(x)))))
    assert count(module, nn.BatchNorm2d) == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("grouped", {"groups": 2}),
        ("depthwise", {"groups": 4}),
        ("reflecting", {"padding_mode": "reflect"}),
        ("circular", {"padding_mode": "circular"}),
        ("same", {"padding": "same", "dilation": 2}),
        ("same and even", {"padding": "same", "kernel_size": 4}),
        ("valid", {"padding": "valid"}),
        ("wide", {"padding": (1, 2), "kernel_size": (3, 5)}),
        ("strided", {"stride": (2, 1), "padding": (2, 1), "dilation": (2, 1)}),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("normed", [True, False])
def test_convolutions_of_every_kind(name, options, normed):
    conv = nn.Conv2d(4, 4, **{"kernel_size": 3, "padding": 1, **options})
    module = simplified(of(lambda net, x: net.relu(net.norm(net.own(x)) if normed else net.own(x)), own=conv))
    assert count(module, nn.BatchNorm2d) == 0


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.Hardsigmoid(), nn.Sigmoid(), nn.SiLU(), nn.GELU(), nn.PReLU()],
)
def test_activations_as_layers(activation):
    simplified(of(lambda net, x: net.act(net.norm(net.a(x))) + net.act(net.b(x) + x), act=activation))


@pytest.mark.parametrize(
    "function",
    [functional.relu, functional.silu, functional.hardswish, torch.sigmoid, torch.relu, lambda x: functional.relu6(x)],
)
def test_activations_as_functions(function):
    simplified(of(lambda net, x: function(net.norm(net.a(x))) + x))


@pytest.mark.parametrize("dropout", [nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.Identity()])
def test_dropout_does_nothing(dropout):
    simplified(of(lambda net, x: net.drop(net.relu(net.drop(net.a(x)))) + net.drop(x), drop=dropout))


def test_layers_that_are_called_by_keyword():
    simplified(of(lambda net, x: net.relu(input=net.norm(input=net.a(input=x))) + net.drop(input=x), drop=nn.Dropout()))
    simplified(of(lambda net, x: net.b(torch.cat(tensors=[x[:, :2], net.a(x)[:, 2:]], dim=1))))

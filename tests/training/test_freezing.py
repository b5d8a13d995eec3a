"""What is frozen has no gradients and stays in eval mode."""

import pytest
import torch

from atrous.models.deeplab import build
from atrous.training.freezing import freeze, train_mode


def tiny(name):
    return build(name, num_classes=3, aspp_channels=8, auxiliary=True)


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v2", "deeplabv3plus_mobilenet_v2"])
@pytest.mark.parametrize(
    ("what", "trained"),
    [
        ("none", ("backbone.", "classifier.", "aux_classifier.")),
        ("backbone", ("classifier.", "aux_classifier.")),
    ],
)
def test_parts(name, what, trained):
    network = tiny(name)
    freeze(network, what)
    train_mode(network, what)
    assert all(p.requires_grad == key.startswith(trained) for key, p in network.named_parameters())
    assert all(
        module.training == f"{key}.".startswith(trained) for key, module in network.named_modules() if "." in key
    )


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v2", "deeplabv3plus_mobilenet_v2"])
def test_all_but_last(name):
    network = tiny(name)
    freeze(network, "all-but-last")
    train_mode(network, "all-but-last")
    trained = {p.shape for p in network.parameters() if p.requires_grad}
    assert len([p for p in network.parameters() if p.requires_grad]) == 2
    assert (3,) in trained
    assert sum(module.training for module in network.modules()) == 1


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_large", "resnet18", "resnet50"])
def test_a_frozen_stem_ends_at_the_low_level_features(backbone):
    network = build(f"deeplabv3plus_{backbone}", num_classes=3, aspp_channels=8)
    freeze(network, "none", stem=True)
    train_mode(network, "none", stem=True)
    features = network.features(torch.randn(2, 3, 64, 64))
    assert not features.low_level.requires_grad
    assert features.high_level.requires_grad
    assert features.low_level.shape[-1] == 16
    with torch.no_grad():
        again = network.features(torch.randn(2, 3, 64, 64))
    statistics = {name: value.clone() for name, value in network.named_buffers() if "running_mean" in name}
    network.features(torch.randn(2, 3, 64, 64) + 1)
    changed = {
        name
        for name, value in network.named_buffers()
        if name in statistics and not torch.equal(value, statistics[name])
    }
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert changed.isdisjoint({name.rpartition(".")[0] + ".running_mean" for name in frozen})
    assert changed
    assert again.low_level.shape == features.low_level.shape


def test_an_unknown_part():
    with pytest.raises(ValueError, match="unknown freeze"):
        freeze(tiny("deeplabv3_mobilenet_v2"), "half")  # pyright: ignore[reportArgumentType]


def test_norms_keep_their_statistics_while_the_rest_trains():
    network = tiny("deeplabv3plus_mobilenet_v2")
    for norms, parts in (("none", ()), ("backbone", ("backbone.",)), ("all", ("backbone.", "classifier."))):
        train_mode(network, "none", norms=norms)
        for name, module in network.named_modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.training != (name.startswith(parts) or norms == "all"), (norms, name)
            elif isinstance(module, torch.nn.Dropout):
                assert module.training

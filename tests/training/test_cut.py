"""A network cut in two gives what the whole gives, and the frozen half needs nothing of the trained one."""

import pytest
import torch

from atrous.config import make_config
from atrous.errors import ConfigError
from atrous.models.deeplab import build
from atrous.training.cut import cut_for
from atrous.training.freezing import freeze, train_mode

NETWORKS = [
    ("deeplabv3_resnet18", {"auxiliary": True}),
    ("deeplabv3plus_resnet18", {"auxiliary": True, "extra_blocks": 1}),
    ("deeplabv3plus_mobilenet_v2", {}),
    ("deeplabv3plus_mobilenet_v3_large", {"auxiliary": True}),
    ("deeplabv3_xception65", {}),
    ("deeplabv3plus_xception65", {"auxiliary": True}),
]


def cases():
    for name, settings in NETWORKS:
        with torch.device("meta"):
            stages = list(build(name, **settings).backbone.stages())
        for what, until in (("none", None), ("backbone", None), ("all-but-last", None)):
            yield name, settings, what, until
        for until in stages if "xception" not in name else stages[2:4]:
            yield name, settings, "none", until


@pytest.mark.parametrize(("name", "settings", "what", "until"), list(cases()))
def test_the_halves_together_are_the_whole(name, settings, what, until):
    torch.manual_seed(0)
    network = build(name, num_classes=3, aspp_channels=8, **settings)
    network.eval()
    freeze(network, what, until=until)
    image = torch.randn(1, 3, 65, 49)
    with torch.no_grad():
        features = network.features(image)
        expected = network.classifier(features)
        auxiliary = None if network.aux_classifier is None else network.aux_classifier(features)
    cut = cut_for(network, what, until=until, auxiliary=True)
    kept = cut.frozen(network, image)
    assert not any(value.requires_grad for value in kept.values())
    logits, aside = cut.trained(network, kept)
    assert torch.equal(logits, expected)
    if auxiliary is None or what == "all-but-last":
        assert aside is None
    else:
        assert torch.equal(aside, auxiliary)


@pytest.mark.parametrize(("name", "settings"), [NETWORKS[0], NETWORKS[1], NETWORKS[5]])
@pytest.mark.parametrize("what", ["backbone", "all-but-last"])
def test_nothing_is_kept_that_is_not_read(name, settings, what):
    with torch.device("meta"):
        network = build(name, num_classes=3, **settings)
        kept = cut_for(network, what).frozen(network, torch.empty(1, 3, 64, 64))
    expected = {"last"} if what == "all-but-last" else set(network.classifier.reads)
    assert set(kept) == expected


def test_stages_up_to_one_are_frozen():
    network = build("deeplabv3plus_resnet18", num_classes=3, aspp_channels=8)
    freeze(network, "none", until="layer2")
    train_mode(network, "none", until="layer2")
    for name, parameter in network.backbone.named_parameters():
        assert parameter.requires_grad == name.startswith(("layer3", "layer4"))
    for name, module in network.backbone.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.training == name.startswith(("layer3", "layer4"))
    with pytest.raises(ConfigError, match="expected one of stem, layer1, layer2, layer3, layer4"):
        freeze(network, "none", until="stage9")


def test_one_way_of_freezing():
    with pytest.raises(ConfigError, match="are both given"):
        make_config("auto", {"freeze": "backbone", "freeze_until": "layer2"})

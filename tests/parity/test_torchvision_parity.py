"""The three networks that torchvision publishes give its logits, from the same state dict, in both directions."""

import pytest
import torch
from torch import nn
from torchvision_reference import reference_network

import atrous.models

TOLERANCE = 1e-4  # of logits, float32
NAMES = ("deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large")
SMALL, ODD = (65, 97), (129, 129)
# ResNet-101 differs from ResNet-50 only in its depth, so a smaller size saves time there.
LARGE = dict(zip(NAMES, [(321, 513), (161, 257), (321, 513)], strict=True))


def batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def make_like_trained(network: nn.Module) -> None:
    """Give norms scales and statistics, and heads logits of about 1, as a trained network has: no signal fades."""
    heads = [head for head in (network.classifier, network.aux_classifier) if head is not None]
    for norm in batch_norms(network):
        nn.init.uniform_(norm.weight, 0.5, 1.0)
        nn.init.normal_(norm.bias, std=0.1)
    # The backbone takes the statistics of one batch; the heads do not, as image pooling has next to no variance in it.
    for norm in batch_norms(network.backbone):
        norm.momentum = 1.0
    run = getattr(network, "forward_with_auxiliary", network)
    with torch.no_grad():
        network.train()(torch.randn(2, 3, *SMALL))
        for norm in batch_norms(network.backbone):
            norm.running_mean.add_(torch.randn_like(norm.running_mean), alpha=0.1)
            norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.5, 1.5)).clamp_(min=0.01)
        network.eval()
        for head in heads:
            for norm in batch_norms(head):
                nn.init.normal_(norm.running_mean, std=0.1)
                nn.init.uniform_(norm.running_var, 0.5, 1.5)
            handle = head[-1].register_forward_hook(lambda layer, _, logits: layer.weight.div_(logits.std()))
            run(torch.randn(1, 3, *SMALL))
            handle.remove()


def differences(ours: atrous.models.DeepLab, theirs: nn.Module, size: tuple[int, int]) -> list[float]:
    """Largest differences of the logits and, where there are any, of the auxiliary ones."""
    image = torch.randn(1, 3, *size)
    with torch.inference_mode():
        logits, auxiliary = ours.eval().forward_with_auxiliary(image)
        expected = theirs.eval()(image)
    actual = {"out": logits} if auxiliary is None else {"out": logits, "aux": auxiliary}
    assert actual.keys() == expected.keys()
    for key, tensor in expected.items():
        assert actual[key].shape == tensor.shape
        assert tensor.std(dim=(-2, -1)).mean() > 0.05, f"the reference's {key!r} says nothing: the same everywhere"
    return [(actual[key] - tensor).abs().max().item() for key, tensor in expected.items()]


@pytest.mark.parametrize("auxiliary", [False, True], ids=["plain", "auxiliary"])
@pytest.mark.parametrize("name", NAMES)
def test_their_weights_give_their_logits(name: str, auxiliary: bool) -> None:
    torch.manual_seed(1)
    theirs = reference_network(name, auxiliary=auxiliary)
    make_like_trained(theirs)
    ours = atrous.models.build(name, num_classes=21, auxiliary=auxiliary)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for size in [SMALL, ODD, LARGE[name]] if auxiliary else [SMALL]:
        assert max(differences(ours, theirs, size)) < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_our_weights_give_our_logits_there(name: str) -> None:
    torch.manual_seed(2)
    ours = atrous.models.build(name, num_classes=5, auxiliary=True)
    make_like_trained(ours)
    theirs = reference_network(name, num_classes=5, auxiliary=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert max(differences(ours, theirs, SMALL)) < TOLERANCE


def test_a_wrong_rate_is_found() -> None:
    """The comparison can fail: the paper's rates at stride 16 take the same weights and give other logits."""
    torch.manual_seed(3)
    theirs = reference_network("deeplabv3_mobilenet_v3_large")
    make_like_trained(theirs)
    ours = atrous.models.deeplabv3_mobilenet_v3_large(num_classes=21, atrous_rates=(6, 12, 18))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert max(differences(ours, theirs, ODD)) > 100 * TOLERANCE

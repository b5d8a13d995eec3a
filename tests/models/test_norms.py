"""Batch, group and frozen norm: what each does to the statistics and to the state dict."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from atrous.models import DeepLab, build
from atrous.models.norms import FrozenBatchNorm2d, group_size, set_norm
from fixed_networks import build_fixed, fixed_numbers

NAMES = ["deeplabv3_mobilenet_v3_large", "deeplabv3plus_resnet18"]


def buffers(network: DeepLab) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


@pytest.mark.parametrize("name", [*NAMES, "deeplabv3_mobilenet_v2", "deeplabv3plus_xception65"])
def test_batch_and_frozen_have_the_same_state_dict_keys(name: str) -> None:
    with torch.device("meta"):
        keys = build(name).state_dict().keys()
        assert build(name, norm="frozen").state_dict().keys() == keys
        group = build(name, norm="group")
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in group.modules())
    assert group.state_dict().keys() == {key for key in keys if "running" not in key and "num_batches" not in key}


@pytest.mark.parametrize("name", NAMES)
def test_frozen_statistics_survive_training(name: str) -> None:
    image = fixed_numbers((2, 3, 65, 65), 3)
    batch = build_fixed(name, num_classes=2, dropout=0.0, output_stride=32)
    frozen = build(name, num_classes=2, dropout=0.0, output_stride=32, norm="frozen")
    frozen.load_state_dict(batch.state_dict())
    before = buffers(frozen)
    logits = frozen.train()(image)
    logits.square().mean().backward()
    assert all(torch.equal(before[key], buffer) for key, buffer in buffers(frozen).items())
    assert all(parameter.grad is not None for parameter in frozen.parameters())
    # In train mode too, frozen norm computes what batch norm does in eval mode.
    torch.testing.assert_close(logits, batch.eval()(image))
    batch.train()(image)
    assert not all(torch.equal(before[key], buffer) for key, buffer in buffers(batch).items())


@pytest.mark.parametrize("name", NAMES)
def test_group_norm_gives_an_image_the_same_logits_in_any_batch_and_mode(name: str) -> None:
    network = build_fixed(name, num_classes=2, dropout=0.0, output_stride=32, norm="group")
    images = fixed_numbers((2, 3, 65, 65), 3)
    with torch.inference_mode():
        together = network.train()(images)
        alone = network.eval()(images[:1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
    assert alone.std() > 1e-3


@pytest.mark.parametrize("norm", ["group", "frozen"])
def test_one_image_trains_with_every_norm(norm: str) -> None:
    network = build_fixed("deeplabv3_resnet18", num_classes=2, output_stride=32, norm=norm).train()
    network(fixed_numbers((1, 3, 33, 33), 1)).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@given(st.integers(1, 3000))
def test_groups_divide_the_channels(channels: int) -> None:
    size = group_size(channels)
    assert channels % size == 0
    assert not any(channels % other == 0 for other in range(min(size, 256 // size) + 1, max(size, -(-256 // size))))


def test_sizes_of_groups_in_our_networks() -> None:
    assert [group_size(channels) for channels in (16, 24, 40, 48, 64, 728, 2048)] == [16, 12, 20, 16, 16, 14, 16]


def test_group_norm_keeps_the_eps_of_the_batch_norm() -> None:
    with torch.device("meta"):
        network = build("deeplabv3_xception65", norm="group")
    assert {layer.eps for layer in network.backbone.modules() if isinstance(layer, nn.GroupNorm)} == {1e-3}
    assert {layer.eps for layer in network.classifier.modules() if isinstance(layer, nn.GroupNorm)} == {1e-5}


def test_a_subclass_of_batch_norm_is_frozen_as_it_is_and_never_becomes_group_norm() -> None:
    class WithActivation(nn.BatchNorm2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input).relu()

    module = nn.Sequential(WithActivation(16), nn.BatchNorm2d(16))
    with pytest.raises(ValueError, match="WithActivation cannot become group norm"):
        set_norm(copy.deepcopy(module), "group")
    set_norm(module, "frozen")
    twin = copy.deepcopy(module).train()
    before = twin[0].running_mean.clone()
    assert twin(torch.randn(4, 16, 3, 3) + 3)[:, :].min() >= -3
    assert torch.equal(twin[0].running_mean, before)
    assert not twin[0].training
    assert isinstance(twin[0], WithActivation)
    assert isinstance(twin[1], FrozenBatchNorm2d)

"""Strides become dilations without changing the features: DeepLab's own claim, tested as such."""

import pytest
import torch
from torch import Tensor, nn

from atrous.models.backbone import Backbone, stage_rates
from atrous.models.mobilenet import SqueezeExcite, mobilenet_v2, mobilenet_v3_large
from atrous.models.resnet import resnet18, resnet34, resnet50, resnet101

BUILDERS = {b.__name__: b for b in (resnet18, resnet34, resnet50, resnet101, mobilenet_v2, mobilenet_v3_large)}
SIZES = [(97, 98), (112, 128), (129, 113)]


def prepared(name: str, output_stride: int, state: dict[str, Tensor] | None, **settings: bool) -> Backbone:
    torch.manual_seed(0)
    with torch.device("cpu" if state is None else "meta"):
        backbone = BUILDERS[name](output_stride=output_stride, **settings)
    if state is None:
        for layer in backbone.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.running_mean, std=0.1)
                nn.init.uniform_(layer.weight, 0.8, 1.2)
                nn.init.normal_(layer.bias, std=0.1)
            if isinstance(layer, SqueezeExcite):
                # Its weights come from the mean over the map, and a denser map has another mean: make them constant.
                nn.init.zeros_(layer.fc2.weight)
                nn.init.uniform_(layer.fc2.bias, 0, 4)
    else:
        backbone.load_state_dict(state, assign=True)
    return backbone.eval()


def relative_difference(dense: Tensor, sparse: Tensor) -> float:
    assert dense.shape == sparse.shape
    return ((dense - sparse).abs().max() / sparse.abs().max()).item()


@pytest.mark.parametrize("name", BUILDERS)
def test_denser_features_contain_those_of_stride_32(name: str) -> None:
    reference = prepared(name, 32, None)
    state = reference.state_dict()
    sizes = SIZES if "mobilenet" in name else SIZES[:2] if name == "resnet18" else SIZES[:1]
    for size in sizes:
        image = torch.randn(1, 3, *size)
        with torch.inference_mode():
            sparse = reference.features(image).high_level
            for output_stride in (16, 8):
                dense = prepared(name, output_stride, state).features(image).high_level
                step = 32 // output_stride
                assert relative_difference(dense[..., ::step, ::step], sparse) < 1e-5


def test_the_stages_rate_in_the_first_unit_breaks_it() -> None:
    """Torchvision's MobileNetV3 does that; the test above can fail."""
    reference = prepared("mobilenet_v3_large", 32, None)
    dense = prepared("mobilenet_v3_large", 16, reference.state_dict(), dilate_first_unit=True)
    image = torch.randn(1, 3, 97, 98)
    with torch.inference_mode():
        sparse = reference.features(image).high_level
        assert relative_difference(dense.features(image).high_level[..., ::2, ::2], sparse) > 0.01


def test_stage_rates() -> None:
    def rates(output_stride: int, **settings: bool) -> list[tuple[int, int, int]]:
        stages = stage_rates((1, 2, 2, 2), output_stride=output_stride, entry_stride=4, **settings)
        return [(stage.stride, stage.first_dilation, stage.dilation) for stage in stages]

    assert rates(32) == [(1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1)]
    assert rates(16) == [(1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 2)]
    assert rates(8) == [(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)]
    assert rates(8, dilate_first_unit=True) == [(1, 1, 1), (2, 1, 1), (1, 2, 2), (1, 4, 4)]
    with pytest.raises(ValueError, match="must be one of 8, 16, 32"):
        rates(4)


def test_no_feature_map_is_overwritten_by_later_layers() -> None:
    """Activations work in place; the low-level map must survive them, in training too."""
    for name in ("resnet18", "mobilenet_v2", "mobilenet_v3_large"):
        backbone = prepared(name, 16, None)
        image = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            kept = backbone.features(image)
            x = image
            if name == "resnet18":
                x = backbone.layer1(backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(image)))))
            else:
                for block in list(backbone.children())[: backbone.low_level_position + 1]:
                    x = block(x)
        assert torch.equal(kept.low_level, x)

"""Strides become dilations without changing the features: DeepLab's own claim, tested as such."""

import pytest
import torch
from torch import Tensor, nn

from atrous.models.backbone import Backbone, stage_rates
from atrous.models.mobilenet import SqueezeExcite, mobilenet_v2, mobilenet_v3_large
from atrous.models.resnet import resnet18, resnet34, resnet50, resnet101
from atrous.models.xception import xception65
from fixed_networks import fill_fixed, fixed_numbers

BUILDERS = {
    b.__name__: b for b in (resnet18, resnet34, resnet50, resnet101, mobilenet_v2, mobilenet_v3_large, xception65)
}
VARIANTS = [
    *((name, {}) for name in BUILDERS),
    ("resnet18", {"multi_grid": (1, 3), "extra_blocks": 3}),
    ("resnet50", {"multi_grid": (1, 2, 4)}),
    ("resnet50", {"extra_blocks": 1}),
    ("mobilenet_v3_large", {"dilate_first_unit": 16}),
]
SIZES = [(97, 98), (112, 128), (129, 113)]


def prepared(name: str, output_stride: int, state: dict[str, Tensor] | None, **settings: object) -> Backbone:
    with torch.device("meta"):
        backbone = BUILDERS[name](output_stride=output_stride, **settings)
    if state is None:
        fill_fixed(backbone)
        for layer in backbone.modules():
            if isinstance(layer, SqueezeExcite):
                # Its weights come from the mean over the map, and a denser map has another mean: make them constant.
                nn.init.zeros_(layer.fc2.weight)
    else:
        backbone.load_state_dict(state, assign=True)
    return backbone.eval()


def relative_difference(dense: Tensor, sparse: Tensor) -> float:
    assert dense.shape == sparse.shape
    return ((dense - sparse).abs().max() / sparse.abs().max()).item()


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=str)
def test_denser_features_contain_those_of_stride_32(name: str, settings: dict[str, object]) -> None:
    reference = prepared(name, 32, None, **settings)
    state = reference.state_dict()
    sizes = SIZES if "mobilenet" in name else SIZES[:2] if name == "resnet18" else SIZES[:1]
    for size in sizes:
        image = fixed_numbers((1, 3, *size), 5)
        with torch.inference_mode():
            sparse = reference.features(image).high_level
            for output_stride in (16, 8):
                dense = prepared(name, output_stride, state, **settings).features(image).high_level
                step = 32 // output_stride
                assert relative_difference(dense[..., ::step, ::step], sparse) < 1e-5


def test_the_stages_rate_in_the_first_unit_breaks_it() -> None:
    """Torchvision's MobileNetV3 was trained with that; the test above can fail."""
    reference = prepared("mobilenet_v3_large", 32, None)
    dense = prepared("mobilenet_v3_large", 16, reference.state_dict(), dilate_first_unit=True)
    image = fixed_numbers((1, 3, 97, 98), 5)
    with torch.inference_mode():
        sparse = reference.features(image).high_level
        assert relative_difference(dense.features(image).high_level[..., ::2, ::2], sparse) > 0.01


def rates_of(stage: nn.Module) -> list[int]:
    return [layer.dilation[0] for layer in stage.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] > 1]


def test_multi_grid_multiplies_the_rates_of_the_last_stages() -> None:
    """deeplab.md, section 1: (1, 2, 4) gives 2, 4, 8 at stride 16 and 4, 8, 16 at stride 8, in all three units."""
    with torch.device("meta"):
        for output_stride, expected in ((16, [2, 4, 8]), (8, [4, 8, 16])):
            backbone = resnet50(output_stride=output_stride, multi_grid=(1, 2, 4), extra_blocks=1)
            assert rates_of(backbone.layer4) == expected
            assert rates_of(backbone.layer5) == [2 * rate for rate in expected]
            assert rates_of(backbone.layer3) == rates_of(resnet50(output_stride=output_stride).layer3)
        assert rates_of(resnet18(multi_grid=(1, 2)).layer4) == [2, 2, 4, 4]


def test_extra_blocks_double_the_rate_each() -> None:
    """deeplab.md, section 1: 4, 8, 16 at stride 16; the first unit keeps the rate of the block before."""
    with torch.device("meta"):
        backbone = resnet50(extra_blocks=3)
    rates = [rates_of(stage) for stage in (backbone.layer4, backbone.layer5, backbone.layer6, backbone.layer7)]
    assert rates == [[1, 2, 2], [2, 4, 4], [4, 8, 8], [8, 16, 16]]
    assert backbone.layer5[0].downsample is None
    assert not hasattr(resnet50(extra_blocks=1), "layer6")


def test_xceptions_blocks_have_the_papers_rates() -> None:
    """deeplab.md, section 1: stride 16: last exit block 2; stride 8: middle and first exit block 2, last 4."""
    for output_stride, middle, exits in ((32, 1, [1, 1]), (16, 1, [1, 2]), (8, 2, [2, 4])):
        with torch.device("meta"):
            backbone = xception65(output_stride=output_stride)
        assert set(rates_of(backbone.middle)) == {middle}
        assert [set(rates_of(block)) for block in backbone.exit] == [{rate} for rate in exits]
        for block in (backbone.entry1, backbone.entry2, backbone.entry3):
            assert set(rates_of(block)) == {1}
    assert all(norm.eps == 1e-3 for norm in backbone.modules() if isinstance(norm, nn.BatchNorm2d))


def test_stage_rates() -> None:
    def rates(output_stride: int, **settings: int) -> list[tuple[int, int, int]]:
        stages = stage_rates((1, 2, 2, 2), output_stride=output_stride, entry_stride=4, **settings)
        return [(stage.stride, stage.first_dilation, stage.dilation) for stage in stages]

    assert rates(32) == [(1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1)]
    assert rates(16) == [(1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 2)]
    assert rates(8) == [(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)]
    assert rates(8, dilate_first_unit=True) == [(1, 1, 1), (2, 1, 1), (1, 2, 2), (1, 4, 4)]
    # Trained at stride 16 with the stage's rate in the first unit of the last stage: at other strides it reaches as far.
    assert rates(16, dilate_first_unit=16) == [(1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 2, 2)]
    assert rates(8, dilate_first_unit=16) == [(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 4, 4)]
    assert rates(32, dilate_first_unit=16) == [(1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 2, 1)]
    with pytest.raises(ValueError, match="must be one of 8, 16, 32"):
        rates(4)


def test_no_feature_map_is_overwritten_by_later_layers() -> None:
    """Activations work in place; the low-level map must survive them, in training too."""
    for name in ("resnet18", "mobilenet_v2", "mobilenet_v3_large", "xception65"):
        backbone = prepared(name, 16, None)
        image = fixed_numbers((1, 3, 64, 64), 5)
        with torch.inference_mode():
            before = image.clone()
            kept = backbone.features(image)
            x = image
            if name == "resnet18":
                x = backbone.layer1(backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(image)))))
            elif name == "xception65":
                for block in backbone.stem():
                    x = block(x)
            else:
                for block in list(backbone.children())[: backbone.low_level_position + 1]:
                    x = block(x)
        assert torch.equal(kept.low_level, x)
        assert torch.equal(image, before)


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=str)
def test_stages_part_the_parameters_in_the_order_of_use(name: str, settings: dict[str, object]) -> None:
    with torch.device("meta"):
        backbone = BUILDERS[name](output_stride=16, **settings)
    stages = backbone.stages()
    own = [parameter for modules in stages.values() for module in modules for parameter in module.parameters()]
    assert len(own) == len({id(parameter) for parameter in own}) == len(list(backbone.parameters()))
    assert all(one is other for one, other in zip(own, backbone.parameters(), strict=True))
    assert len(stages) >= 5

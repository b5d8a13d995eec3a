"""TensorFlow's DeepLabv3 over MobileNetV2: its golden logits, and the same network in Hugging Face's layout."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atrous.errors import WeightsError
from atrous.foreign import build
from atrous.foreign.backbones import SamePadded
from atrous.importers import ADAPTERS, Choices, read_foreign
from atrous.labels import VOC
from atrous.prediction import Model
from random_weights import image_of, randomise

WEIGHTS = Path(__file__).resolve().parents[2] / ".." / "shared" / "weights"
FILE = WEIGHTS / "deeplabv3_mobilenet_v2_voc_tf.npz"
GOLDEN = WEIGHTS / "deeplabv3_mobilenet_v2_voc_tf_golden.npz"
State = dict[str, Tensor]

# transformers' names of the layers, and of what they are of in TensorFlow; written out by its module tree.
STEM = {"first_conv": "stem", "conv_3x3": "block0.dw", "reduce_1x1": "block0.project"}
UNIT = {"expand_1x1": "expand", "conv_3x3": "dw", "reduce_1x1": "project"}
HEAD = {"conv_pool": "image_pooling", "conv_aspp": "aspp0", "conv_projection": "concat_projection"}
CHANNELS = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)


def hugging_face_shapes() -> dict[str, tuple[int, int, int, int]]:
    """The weight of every convolution that has a norm."""
    shapes = {
        "mobilenet_v2.conv_stem.first_conv": (32, 3, 3, 3),
        "mobilenet_v2.conv_stem.conv_3x3": (32, 1, 3, 3),
        "mobilenet_v2.conv_stem.reduce_1x1": (16, 32, 1, 1),
    }
    for unit, (before, after) in enumerate(pairwise(CHANNELS)):
        layer, width = f"mobilenet_v2.layer.{unit}", 6 * before
        shapes[f"{layer}.expand_1x1"] = (width, before, 1, 1)
        shapes[f"{layer}.conv_3x3"] = (width, 1, 3, 3)
        shapes[f"{layer}.reduce_1x1"] = (after, width, 1, 1)
    shapes["mobilenet_v2.conv_1x1"] = (1280, 320, 1, 1)
    shapes |= {f"segmentation_head.{name}": (256, 320, 1, 1) for name in ("conv_pool", "conv_aspp")}
    shapes["segmentation_head.conv_projection"] = (256, 512, 1, 1)
    return shapes


def hugging_face_state(classes: int = 21) -> State:
    generator = torch.Generator().manual_seed(3)
    state: State = {}
    for layer, shape in hugging_face_shapes().items():
        count, fan_in = shape[0], shape[1] * shape[2] * shape[3]
        state[f"{layer}.convolution.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        state[f"{layer}.normalization.weight"] = torch.rand(count, generator=generator) * 0.4 + 0.4
        state[f"{layer}.normalization.bias"] = torch.randn(count, generator=generator) * 0.2
        state[f"{layer}.normalization.running_mean"] = torch.randn(count, generator=generator) * 0.2
        state[f"{layer}.normalization.running_var"] = torch.rand(count, generator=generator) + 0.2
        state[f"{layer}.normalization.num_batches_tracked"] = torch.tensor(9)
    state["segmentation_head.classifier.convolution.weight"] = torch.randn(classes, 256, 1, 1, generator=generator) / 16
    state["segmentation_head.classifier.convolution.bias"] = torch.randn(classes, generator=generator)
    return state


def folded(state: State) -> State:
    """The same network as TensorFlow's `.npz` has it: every norm in its convolution."""
    names = {f"mobilenet_v2.conv_stem.{theirs}": layer for theirs, layer in STEM.items()}
    for unit in range(16):
        names |= {f"mobilenet_v2.layer.{unit}.{theirs}": f"block{unit + 1}.{name}" for theirs, name in UNIT.items()}
    names |= {f"segmentation_head.{theirs}": layer for theirs, layer in HEAD.items()}
    result: State = {}
    for theirs, layer in names.items():
        eps = 1e-5 if theirs.startswith("segmentation_head") else 1e-3
        norm = {
            key: state[f"{theirs}.normalization.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
        }
        scale = norm["weight"] / (norm["running_var"] + eps).sqrt()
        result[f"{layer}.weight"] = state[f"{theirs}.convolution.weight"] * scale[:, None, None, None]
        result[f"{layer}.bias"] = norm["bias"] - norm["running_mean"] * scale
    for key in ("weight", "bias"):
        result[f"logits.{key}"] = state[f"segmentation_head.classifier.convolution.{key}"]
    return result


@pytest.mark.shared
@pytest.mark.skipif(not GOLDEN.exists(), reason="TensorFlow's weights (../shared/weights) are not there")
@pytest.mark.parametrize("output_stride", [8, 16])
def test_golden_logits(output_stride: int) -> None:
    with np.load(GOLDEN, allow_pickle=False) as golden:
        pixels, expected = golden["image_uint8"], torch.from_numpy(golden[f"logits_os{output_stride}"])
    imported = read_foreign(FILE, choices=Choices(output_stride=output_stride))
    network = imported.network
    image = torch.from_numpy(imported.preprocessing.normalise(pixels))[None].permute(0, 3, 1, 2)
    with torch.inference_mode():
        logits = network.classifier.head(network.features(image))
    assert (logits - expected).abs().max() < 1e-4
    assert imported.labels == VOC


@pytest.mark.parametrize("size", [(96, 129), (65, 80)])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_both_layouts_give_the_same_logits(output_stride: int, size: tuple[int, int]) -> None:
    state = hugging_face_state()
    choices = Choices(output_stride=output_stride)
    theirs = ADAPTERS["huggingface"].convert(state, choices)
    ours = ADAPTERS["tensorflow"].convert(folded(state), choices)
    image = image_of(*size)
    with torch.inference_mode():
        first, second = theirs.network(image), ours.network(image)
    assert first.std(dim=(-2, -1)).mean() > 0.01
    assert (first - second).abs().max() < 1e-4
    assert theirs.preprocessing == ours.preprocessing
    assert any("conv_1x1 was left out" in note for note in theirs.notes)


def test_a_wrong_epsilon_is_found() -> None:
    """The comparison can fail: PyTorch's usual epsilon in the backbone gives other logits."""
    state = hugging_face_state()
    network = ADAPTERS["huggingface"].convert(state, Choices()).network
    image = image_of(65, 80)
    with torch.inference_mode():
        right = network(image)
        for norm in network.backbone.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.eps = 1e-5
        assert (network(image) - right).abs().max() > 1e-3


def test_the_names_are_told_apart() -> None:
    state = hugging_face_state()
    assert [name for name, adapter in ADAPTERS.items() if adapter.recognise(state)] == ["huggingface"]
    assert [name for name, adapter in ADAPTERS.items() if adapter.recognise(folded(state))] == ["tensorflow"]


@pytest.mark.parametrize("size", [(8, 9), (9, 8), (1, 2), (33, 64)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_is_tensorflows(size: tuple[int, int], dilation: int) -> None:
    """Output i of a length n reads from i * stride - p // 2, where p is what n lacks; the rest is 0."""
    conv = SamePadded(1, 1, 3, stride=2, dilation=dilation, bias=False)
    nn.init.normal_(conv.weight)
    image = torch.randn(1, 1, *size)
    weight = conv.weight.detach()
    out = conv(image).detach()
    counts = [-(-length // 2) for length in size]
    assert list(out.shape[2:]) == counts
    lacks = [max(0, (count - 1) * 2 + 2 * dilation + 1 - n) for count, n in zip(counts, size, strict=True)]
    for y in range(counts[0]):
        for x in range(counts[1]):
            total = 0.0
            for i in range(3):
                for j in range(3):
                    row, column = y * 2 - lacks[0] // 2 + i * dilation, x * 2 - lacks[1] // 2 + j * dilation
                    if 0 <= row < size[0] and 0 <= column < size[1]:
                        total += float(image[0, 0, row, column] * weight[0, 0, i, j])
            assert abs(total - float(out[0, 0, y, x])) < 1e-5


def test_corners_are_aligned_to_the_last_pixel() -> None:
    """Prediction goes through the same enlargement: the corners of the coarse map are the image's corner pixels."""
    network = build("tensorflow/deeplabv3_mobilenet_v2", num_classes=3)
    randomise(network)
    image = image_of(65, 97)
    with torch.inference_mode():
        coarse = network.classifier.head(network.features(image))
        full = network.coarse_logits(image)
    assert full.shape == (1, 3, 65, 97)
    torch.testing.assert_close(full[..., ::64, ::96], coarse[..., :: coarse.shape[2] - 1, :: coarse.shape[3] - 1])
    pixels = np.random.default_rng(0).integers(0, 256, (65, 97, 3), np.uint8)
    prediction = Model(network, device="cpu").predict(pixels)
    normalised = torch.from_numpy(Model(network, device="cpu").preprocessing.normalise(pixels))[None].permute(
        0, 3, 1, 2
    )
    with torch.inference_mode():
        assert np.array_equal(prediction.label_map, network(normalised)[0].argmax(dim=0).numpy())


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "bands"])
def test_what_is_not_whole_is_refused(change: str) -> None:
    state = folded(hugging_face_state())
    if change == "missing":
        del state["block7.dw.bias"]
    elif change == "extra":
        state["aspp1.weight"] = torch.zeros(256, 320, 3, 3)
    elif change == "shape":
        state["aspp0.weight"] = torch.zeros(128, 320, 1, 1)
    else:
        state["stem.weight"] = torch.zeros(32, 4, 3, 3)
    with pytest.raises(WeightsError, match=r"block7\.dw|aspp1\.weight|convs\.0\.0\.weight|3 bands"):
        ADAPTERS["tensorflow"].convert(state, Choices())


def test_hostile_archives_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", stem=np.array([{"a": 1}], dtype=object))
    with pytest.raises(WeightsError, match=r"objects\.npz cannot be read as arrays"):
        read_foreign(tmp_path / "objects.npz")
    np.savez(tmp_path / "nan.npz", stem=np.array([np.nan], np.float32))
    with pytest.raises(WeightsError, match="NaN or infinity in 1 arrays"):
        read_foreign(tmp_path / "nan.npz")
    whole = (tmp_path / "nan.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"cut\.npz"):
        read_foreign(tmp_path / "cut.npz")

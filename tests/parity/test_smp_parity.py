"""segmentation_models.pytorch's DeepLabV3 and DeepLabV3Plus give their logits after import, from the same state dict."""

from pathlib import Path

import pytest
import torch
from smp_reference import smp_network
from torch import nn

from atrous.importers import Choices, read_foreign
from random_weights import image_of, largest_difference, randomise

TOLERANCE = 1e-4  # of logits of about 1, float32
SIZE = (160, 224)  # rate 12 is inside the map at both strides


def saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("encoder", ["resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("version", ["DeepLabV3", "DeepLabV3Plus"])
def test_its_weights_give_its_logits(version: str, encoder: str, output_stride: int, tmp_path: Path) -> None:
    theirs = randomise(smp_network(version, encoder, output_stride=output_stride))
    imported = read_foreign(saved(theirs, tmp_path / "x.pth"), choices=Choices(output_stride=output_stride))
    assert imported.network.name == f"smp/{version.lower()}_{encoder}"
    image = image_of(*SIZE)
    with torch.inference_mode():
        assert largest_difference(imported.network(image), theirs(image)) < TOLERANCE


@pytest.mark.parametrize(("version", "output_stride"), [("DeepLabV3", 8), ("DeepLabV3Plus", 16)])
def test_the_default_stride_is_its_own(version: str, output_stride: int, tmp_path: Path) -> None:
    path = saved(smp_network(version, "resnet18", output_stride=output_stride), tmp_path / "x.pth")
    assert read_foreign(path).network.settings["output_stride"] == output_stride


def test_separable_and_wide_variants(tmp_path: Path) -> None:
    """ASPP may be separable in v3 and plain in v3+, and of any width: the tensors tell."""
    for version, separable in (("DeepLabV3", True), ("DeepLabV3Plus", False)):
        theirs = smp_network(
            version, "resnet18", output_stride=16, classes=4, decoder_aspp_separable=separable, decoder_channels=32
        )
        randomise(theirs)
        imported = read_foreign(saved(theirs, tmp_path / f"{version}.pth"), choices=Choices(output_stride=16))
        image = image_of(*SIZE)
        with torch.inference_mode():
            assert largest_difference(imported.network(image), theirs(image)) < TOLERANCE


def test_one_class_with_a_sigmoid_keeps_its_probabilities(tmp_path: Path) -> None:
    theirs = randomise(smp_network("DeepLabV3Plus", "resnet18", output_stride=16, classes=1))
    imported = read_foreign(saved(theirs, tmp_path / "x.pth"))
    assert imported.labels.names == ("background", "foreground")
    image = image_of(*SIZE)
    with torch.inference_mode():
        probability = imported.network(image).softmax(dim=1)[:, 1:]
        torch.testing.assert_close(probability, theirs(image).sigmoid(), atol=1e-5, rtol=0)


def test_a_wrong_stride_is_found(tmp_path: Path) -> None:
    """The comparison can fail: the same tensors at the other stride are another network."""
    theirs = randomise(smp_network("DeepLabV3", "resnet18", output_stride=16))
    imported = read_foreign(saved(theirs, tmp_path / "x.pth"), choices=Choices(output_stride=8))
    image = image_of(*SIZE)
    with torch.inference_mode():
        assert largest_difference(imported.network(image), theirs(image)) > 100 * TOLERANCE


def test_torchvisions_network_takes_the_tensors_and_gives_other_logits(tmp_path: Path) -> None:
    """The trap: both have 39,638,869 parameters, and nothing but the logits tells them apart."""
    from atrous.models import deeplabv3_resnet50

    theirs = randomise(smp_network("DeepLabV3", "resnet50", output_stride=8))
    imported = read_foreign(saved(theirs, tmp_path / "x.pth")).network
    plain = deeplabv3_resnet50(num_classes=21).eval()
    state = {name.replace("classifier.head.", "classifier."): tensor for name, tensor in imported.state_dict().items()}
    plain.load_state_dict(state, strict=True)
    assert sum(parameter.numel() for parameter in plain.parameters()) == 39_638_869
    assert sum(parameter.numel() for parameter in theirs.parameters()) == 39_638_869
    image = image_of(64, 96)
    with torch.inference_mode():
        assert largest_difference(plain(image), theirs(image)) > 100 * TOLERANCE
        assert largest_difference(imported(image), theirs(image)) < TOLERANCE

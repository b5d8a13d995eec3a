"""By windows as at once: the stitched logits against the plain network on the whole image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiled_networks import lively
from torch import Tensor

from atrous.engines import PlainEngine
from atrous.errors import OutputError
from atrous.models.deeplab import DeepLab
from atrous.preprocessing import Preprocessing
from atrous.tiling import Stitched, Trunk
from atrous.tiling import features as features_module
from atrous.tiling import stitched as stitched_module

SIZE = (200, 333)
NETWORKS = {
    "v3, squeeze-and-excite": ("deeplabv3_mobilenet_v3_large", {}),
    "v3, stride 8": ("deeplabv3_resnet18", {"output_stride": 8}),
    "v3, no image pooling, no extra convolution": (
        "deeplabv3_mobilenet_v2",
        {"image_pooling": False, "extra_conv": False},
    ),
    "v3+": ("deeplabv3plus_mobilenet_v2", {}),
    "v3+, separable, stride 8": ("deeplabv3plus_resnet18", {"separable": True, "output_stride": 8}),
    "v3+, stride 32, four rates": ("deeplabv3plus_resnet18", {"output_stride": 32, "atrous_rates": (1, 2, 3, 4)}),
}


def an_image(size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (*size, 3), dtype=np.uint8)


def by_windows(
    network: DeepLab,
    image: NDArray[np.uint8],
    folder: Path,
    *,
    window: int,
    margin: int,
    pad_to: int = 1,
    first: int = 0,
) -> tuple[int, Tensor]:
    stitched = Stitched(
        network,
        Preprocessing(pad_to=pad_to),
        size=(image.shape[0], image.shape[1]),
        read=lambda rows, columns: image[rows, columns],
        folder=folder,
        trunk=Trunk(network, window=window),
        margin=margin,
    )
    parts = list(stitched.rows(first))
    stitched.close()
    return parts[0][0], torch.cat([part for _, part in parts], dim=2)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / (expected.max() - expected.min()))


@pytest.mark.parametrize("pad_to", [1, 32])
@pytest.mark.parametrize("kind", NETWORKS)
def test_one_window_and_many_pieces_equal_the_plain_network(
    kind: str, pad_to: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, settings = NETWORKS[kind]
    network, image = lively(name, **settings), an_image()
    monkeypatch.setattr(stitched_module, "PIECE_BYTES", 0)  # the smallest pieces
    monkeypatch.setattr(stitched_module, "LEAST_PIECE", 4)
    monkeypatch.setattr(stitched_module, "MOST_PIECE", 4)
    expected = PlainEngine(network, device=torch.device("cpu")).coarse_logits(
        Preprocessing(pad_to=pad_to).prepare(image)
    )
    _, found = by_windows(network, image, tmp_path, window=512, margin=0, pad_to=pad_to)
    assert found.shape == expected.shape
    assert relative(found, expected) < 1e-4


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "deeplabv3plus_mobilenet_v2"])
def test_windows_with_a_margin_as_far_as_the_backbone_sees_equal_it_too(name: str, tmp_path: Path) -> None:
    network, image = lively(name), an_image((96, 800))
    expected = PlainEngine(network, device=torch.device("cpu")).coarse_logits(Preprocessing().prepare(image))
    _, found = by_windows(network, image, tmp_path, window=128, margin=384)
    assert relative(found, expected) < 1e-4
    _, narrow = by_windows(network, image, tmp_path / "..", window=128, margin=0)
    assert relative(narrow, expected) > 1e-4  # the margin is what makes them equal


def test_patches_stand_for_an_image_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stitched_module, "SAMPLE", 3 * 64 * 64)
    monkeypatch.setattr(stitched_module, "PATCH", 64)
    patches = stitched_module.sample_patches(SIZE)
    assert 1 < len(patches) <= 3
    assert all(0 <= rows.start and rows.stop <= SIZE[0] and columns.stop <= SIZE[1] for rows, columns in patches)
    network, image = lively("deeplabv3_mobilenet_v3_large"), an_image()
    expected = PlainEngine(network, device=torch.device("cpu")).coarse_logits(Preprocessing().prepare(image))
    _, found = by_windows(network, image, tmp_path, window=512, margin=0)
    assert 1e-6 < relative(found, expected) < 0.1  # near, and not the same


def test_interrupted_work_goes_on_and_gives_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, image = lively("deeplabv3plus_mobilenet_v2"), an_image()
    monkeypatch.setattr(stitched_module, "MOST_PIECE", 4)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, whole = by_windows(network, image, tmp_path / "a", window=128, margin=32)
    seen = 0

    def counted(self: Stitched, number: int, window: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 4:
            raise KeyboardInterrupt
        original(self, number, window)  # pyright: ignore[reportArgumentType]

    original = Stitched._run_window
    monkeypatch.setattr(Stitched, "_run_window", counted)
    with pytest.raises(KeyboardInterrupt):
        by_windows(network, image, tmp_path / "b", window=128, margin=32)
    top, rest = by_windows(network, image, tmp_path / "b", window=128, margin=32, first=30)
    assert seen == 4 + 6 - 3  # three of the six windows were done
    assert top == 16
    assert torch.equal(rest, whole[:, :, top:])


def test_a_disk_without_room_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(features_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OutputError, match=r"features between backbone and head take .* GB. Make room"):
        by_windows(lively("deeplabv3_mobilenet_v2"), an_image(), tmp_path, window=128, margin=32)

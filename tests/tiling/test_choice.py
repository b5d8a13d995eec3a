"""When an image is cut, and what is said of it."""

import numpy as np
import pytest
from tiled_networks import lively
from torch import nn

import atrous
from atrous.errors import ConfigError
from atrous.tiling import choose_tiles, parse_tile
from atrous.tiling.choice import bytes_per_pixel
from atrous.tiling.parts import can_be_parted

NETWORK = lively("deeplabv3_mobilenet_v2")
FREE = 16 << 30


def test_small_images_are_whole_and_large_ones_are_cut_with_the_reason() -> None:
    cost = bytes_per_pixel(NETWORK, 3)
    assert choose_tiles(NETWORK, (513, 513), tile="auto", cost=cost, available=FREE, engine="torch") is None
    tiles = choose_tiles(NETWORK, (6000, 6000), tile="auto", cost=cost, available=FREE, engine="torch")
    assert tiles is not None
    assert tiles.stitched
    assert tiles.window % 64 == 0
    assert "6000x6000 pixels at once would take about" in tiles.reason
    assert choose_tiles(NETWORK, (6000, 6000), tile="off", cost=cost, available=FREE, engine="torch") is None


def test_less_free_memory_means_smaller_windows() -> None:
    cost = bytes_per_pixel(NETWORK, 3)
    sides = [
        tiles.window
        for free in (FREE, 512 << 20, 64 << 20)
        for tiles in [choose_tiles(NETWORK, (6000, 6000), tile="auto", cost=cost, available=free, engine="torch")]
        if tiles is not None
    ]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] > sides[-1] >= 256


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Conv2d(3, 2, 1), "a Conv2d is not one of atrous.models"),
        (lively("deeplabv3_resnet18", norm="group"), "group norm takes statistics over the image"),
    ],
)
def test_what_cannot_be_parted_is_blended(network: nn.Module, reason: str) -> None:
    assert reason in str(can_be_parted(network))
    tiles = choose_tiles(network, (900, 900), tile=512, cost=1, available=FREE, engine="torch")
    assert tiles is not None
    assert not tiles.stitched
    assert reason in tiles.reason


def test_a_converted_file_is_blended() -> None:
    tiles = choose_tiles(NETWORK, (900, 900), tile=512, cost=1, available=FREE, engine="onnxruntime")
    assert tiles is not None
    assert not tiles.stitched


def test_means_of_each_window_are_had_when_asked_for() -> None:
    tiles = choose_tiles(NETWORK, (900, 900), tile=512, cost=1, available=FREE, engine="torch", means="window")
    assert tiles is not None
    assert not tiles.stitched
    assert "asked for" in tiles.reason
    image = np.random.default_rng(1).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    asked = atrous.Model(NETWORK, tile=256, tile_means="window").coarse_logits(image).logits
    whole = atrous.Model(NETWORK, tile=256).coarse_logits(image).logits
    assert asked.shape[1] == whole.shape[1]
    assert (asked[:, :, 4:8, 4:8] - whole[:, :, 4:8, 4:8]).abs().median() > 1e-4


@pytest.mark.parametrize("text", ["", "-3", "100", "1.5", "yes"])
def test_a_wrong_option_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, off, or the side"):
        parse_tile(text)


def test_the_options() -> None:
    assert [parse_tile(text) for text in ("auto", "off", "1024")] == ["auto", "off", 1024]

"""A model's windows: whatever was computed before, and whoever owns the network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiled_networks import lively

import atrous
from atrous.labels import Labels
from atrous.tiling import Tiles


@pytest.mark.parametrize("from_file", [False, True])
def test_other_windows_and_changed_weights_are_followed(from_file: bool, tmp_path: Path) -> None:
    network = lively("deeplabv3plus_mobilenet_v2")
    model = atrous.Model(network, labels=Labels.numbered(5), tile="off")
    if from_file:
        model.save(tmp_path / "model.safetensors")
        model = atrous.load(tmp_path / "model.safetensors", tile="off")
    image = np.random.default_rng(0).integers(0, 256, (150, 260, 3), dtype=np.uint8)

    def relative(window: int) -> float:
        expected = model.coarse_logits(image).logits
        rule = model.preprocessing.as_read()
        found = model.tiler.coarse(Tiles(window, True, ""), image, rule, engine=model.engine).logits
        return float((found - expected).abs().max() / (expected.max() - expected.min()))

    for window in (512, 320, 512):
        assert relative(window) < 1e-4
    if not from_file:
        with torch.no_grad():
            next(network.backbone.parameters()).mul_(1.5)
        assert relative(512) < 1e-4


def test_an_image_is_cut_as_asked_and_predicted_the_same() -> None:
    network = lively("deeplabv3_mobilenet_v2")
    image = np.random.default_rng(1).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    whole, cut = (atrous.Model(network, tile=tile).predict(image) for tile in ("off", 256))
    assert (whole.label_map == cut.label_map).mean() > 0.98  # random weights, and windows of 256
    assert whole.scores.shape == cut.scores.shape

"""Class weights, and that taking their tilt back gives the true probabilities."""

import pytest
import torch

from atrous.errors import DataError
from atrous.models.deeplab import build
from atrous.training.balance import class_weights, take_back_tilt


def test_rare_classes_weigh_more_and_the_mean_over_pixels_is_one():
    pixels = [900, 90, 10]
    weights = class_weights(pixels)
    assert weights[0] < weights[1] < weights[2] <= 10
    assert sum(w * n for w, n in zip(weights, pixels, strict=True)) / 1000 == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx((900 / 90) ** 0.5)


def test_a_class_without_pixels_weighs_as_the_rarest():
    weights = class_weights([900, 90, 0])
    assert weights[2] == weights[1]


def test_no_pixels_at_all():
    with pytest.raises(DataError, match="no labelled pixel"):
        class_weights([0, 0])


def test_taking_back_all_the_tilt_divides_the_probabilities_by_the_weights():
    torch.manual_seed(0)
    network = build("deeplabv3plus_mobilenet_v2", num_classes=3, aspp_channels=8).eval()
    image = torch.randn(1, 3, 65, 49)
    weights = (0.5, 1.0, 4.0)
    with torch.no_grad():
        tilted = network(image).softmax(dim=1)
        take_back_tilt(network, weights, share=1.0)
        straight = network(image).softmax(dim=1)
    expected = tilted / torch.tensor(weights)[None, :, None, None]
    torch.testing.assert_close(straight, expected / expected.sum(dim=1, keepdim=True), rtol=1e-4, atol=1e-6)


def test_an_optimum_of_the_weighted_loss_becomes_the_frequencies():
    """One pixel position with known class frequencies: weighted training ends at w * p, which the tilt takes back to p."""
    frequencies, weights = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.6, 1.2, 2.0])
    optimum = (weights * frequencies).log()
    logits = optimum - weights.log()
    torch.testing.assert_close(logits.softmax(dim=0), frequencies)

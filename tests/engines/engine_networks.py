"""Small networks of every kind that an engine may get, and images for them."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from random_weights import randomise
from tiny_network import tiny


class Foreign(nn.Module):
    """Logits at the image's own size."""

    def __init__(self, classes=5, dilation=1):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.more = nn.Conv2d(8, 8, 3, padding=dilation, dilation=dilation)
        self.logits = nn.Conv2d(8, classes, 1)

    def forward(self, image) -> object:
        return self.logits_of(image)

    def logits_of(self, image):
        x = functional.relu(self.norm(self.conv(image)))
        x = self.logits(x + self.more(x))
        return functional.interpolate(x, size=image.shape[-2:], mode="bilinear", align_corners=False)


class Dictionary(Foreign):
    """Answers as torchvision's networks with an auxiliary head do, in another order."""

    def forward(self, image):
        logits = self.logits_of(image)
        return {"aux": logits.flip(1), "out": logits}


class DecidesByValues(Foreign):
    """What no graph of layers can say."""

    def forward(self, image):
        return self.logits_of(image if image.mean() > 0 else -image)


NETWORKS = {
    "deeplab": lambda: tiny(5, auxiliary=True),
    "foreign": Foreign,
    "dictionary": Dictionary,
}


def network_of(kind):
    """With random weights that are always the same."""
    torch.manual_seed(0)
    return randomise(NETWORKS[kind](), seed=2)


def image(height=61, width=83, seed=0):
    """A normalised image (H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((-(-height // 8), -(-width // 8), 3))
    smooth = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return np.ascontiguousarray(smooth + 0.2 * rng.standard_normal((height, width, 3)), np.float32)

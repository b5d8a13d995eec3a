"""Data sets of 8-bit RGB images give the batches that they gave before images of other bands and depths were read."""

import hashlib
import platform

import cv2
import numpy as np
import pytest
from generated_data import mask, picture, save

from atrous.data.layouts import open_dataset
from atrous.data.loader import TrainingImages, batches
from atrous.data.rare import find_rare
from atrous.preprocessing import Preprocessing
from atrous.transforms import Augmentation

MADE_WITH = ("5.0.0", "x86_64")
"""OpenCV's version and the machine of the golden digest: its arithmetic may differ in the last bit elsewhere."""
GOLDEN = "0a05ae9b4209c0ae5e53feb259ded763"


def test_batches_of_rgb_images_have_the_bytes_that_they_always_had(tmp_path):
    if (cv2.__version__, platform.machine()) != MADE_WITH:
        pytest.skip(f"the digest is of OpenCV and machine {MADE_WITH}")
    for index in range(6):
        save(tmp_path / "images" / f"photo{index}x.png", picture(index, (60 + index, 80)))
        save(tmp_path / "masks" / f"photo{index}x.png", mask(index, (0, 1, 2, 255), (60 + index, 80)))
    dataset = open_dataset(tmp_path)
    samples = dataset.splits["train"]
    images = TrainingImages(
        dataset,
        samples,
        augmentation=Augmentation(
            crop_size=(48, 64), rotation=10, brightness=0.3, contrast=0.3, saturation=0.3, tint=0.1, blur=0.5
        ),
        preprocessing=Preprocessing(),
        seed=5,
        rare=find_rare(np.array([100, 100, 5]), np.ones((len(samples), 3), bool)),
        rare_crops=0.5,
        paste=0.5,
    )
    digest = hashlib.sha256()
    for batch in batches(images, batch=3, stop=12):
        digest.update(batch.image.numpy().tobytes() + batch.mask.numpy().tobytes() + repr(batch.names).encode())
    assert digest.hexdigest()[:32] == GOLDEN

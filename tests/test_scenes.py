import hashlib

import numpy as np
import pytest

from atrous.errors import ConfigError
from atrous.scenes import SCENE_LABELS, draw_scene

# A scene has the same bytes on every machine. A change of the drawing is fine: put the digest of the failure here.
GOLDEN = {
    0: "d480a25a520a72a6",
    7: "891347e5547fed61",
    19: "b31feef03655af75",
}


def digest(seed: int) -> str:
    image, mask = draw_scene(seed=seed, size=(96, 128))
    return hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("seed", GOLDEN)
def test_a_seed_gives_the_same_bytes_everywhere(seed):
    assert digest(seed) == GOLDEN[seed]


def test_drawing_other_scenes_between_changes_nothing():
    first = digest(3)
    draw_scene(seed=4, size=(64, 200))
    assert digest(3) == first


def test_different_seeds_give_different_scenes():
    assert len({digest(seed) for seed in range(8)}) == 8


@pytest.mark.parametrize("size", [(192, 256), (32, 32), (33, 65), (40, 300), (300, 40), (600, 700)])
def test_any_size_gives_an_image_and_a_mask_of_that_size(size):
    image, mask = draw_scene(seed=5, size=size)
    assert image.shape == (*size, 3)
    assert mask.shape == size
    assert image.dtype == mask.dtype == np.uint8


@pytest.mark.parametrize(("seed", "size"), [(-1, (64, 64)), (0, (31, 64)), (0, (64, 0))])
def test_a_size_or_seed_that_cannot_be_drawn_is_refused(seed, size):
    with pytest.raises(ConfigError, match="expected a seed of 0 or more"):
        draw_scene(seed=seed, size=size)


def test_every_class_is_in_most_scenes_and_nothing_else_is():
    count = 40
    present = np.zeros(256, int)
    pixels = np.zeros(256, int)
    for seed in range(count):
        found = np.bincount(draw_scene(seed=seed, size=(96, 128))[1].ravel(), minlength=256)
        present += found > 0
        pixels += found
    assert (present[: SCENE_LABELS.num_classes] >= 0.75 * count).all()
    assert set(np.flatnonzero(pixels)) == {*range(SCENE_LABELS.num_classes), SCENE_LABELS.ignore_index}
    assert (pixels[: SCENE_LABELS.num_classes] > 0.008 * pixels.sum()).all()
    assert pixels[255] < 0.15 * pixels.sum()  # at half the demo's size borders weigh double


def test_void_is_a_thin_border_between_classes():
    for seed in range(5):
        mask = draw_scene(seed=seed, size=(192, 256))[1]
        # Two classes never touch from the left to the right or from above to below ...
        for one, other in ((mask[:, 1:], mask[:, :-1]), (mask[1:], mask[:-1])):
            touching = (one != other) & (one != 255) & (other != 255)
            assert touching.mean() < 0.001
        # ... and void is thin: nearly no 5x5 block is all void.
        void = mask == 255
        blocks = np.lib.stride_tricks.sliding_window_view(void, (5, 5)).all(axis=(2, 3))
        assert blocks.mean() < 0.002


def test_classes_look_different():
    """The mean colour of sky, field, road, water and tree tells them apart in nearly every scene."""
    ids = [SCENE_LABELS.names.index(name) for name in ("sky", "field", "road", "tree")]
    for seed in range(20):
        image, mask = draw_scene(seed=seed, size=(96, 128))
        means = [image[mask == index].mean(axis=0) for index in ids if (mask == index).sum() > 50]
        distances = [np.abs(a - b).max() for at, a in enumerate(means) for b in means[:at]]
        assert min(distances) > 8


def test_the_palette_has_a_colour_of_its_own_for_every_class():
    assert len(set(SCENE_LABELS.palette)) == SCENE_LABELS.num_classes == 8

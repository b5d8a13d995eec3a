"""Image and mask move together; randomness depends on the generator alone."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.preprocessing import Preprocessing
from atrous.transforms import Augmentation, apply_view, draw_view, paste_class, plain_view

PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
VOID = 255


def blocks(height, width, block=24):
    """A mask of blocks of 8 classes, and an image whose brightness is the class times 30."""
    rows, columns = np.arange(height)[:, None] // block, np.arange(width)[None] // block
    mask = ((rows * 3 + columns * 5) % 8).astype(np.uint8)
    return np.repeat((mask * 30)[..., None], 3, axis=2), mask


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(60, 200), st.integers(60, 200)),
    crop=st.tuples(st.integers(40, 160), st.integers(40, 160)),
    rotation=st.sampled_from([0.0, 30.0, 180.0]),
)
def test_image_and_mask_stay_together(seed, size, crop, rotation):
    image, mask = blocks(*size)
    augmentation = Augmentation(crop_size=crop, scale=(0.5, 2.0), rotation=rotation)
    view = draw_view(augmentation, size, np.random.default_rng(seed))
    pixels, label_map = apply_view(view, image, mask, preprocessing=PLAIN, ignore_index=VOID)
    assert pixels.shape == (*crop, 3)
    assert pixels.dtype == np.float32
    assert label_map.shape == crop
    assert set(np.unique(label_map)) <= {*range(8), VOID}
    valid = label_map != VOID
    if not valid.any():
        return
    wrong = np.abs(pixels[..., 0] * 255 - label_map * 30.0)[valid] > 15
    # Interpolated pixels at the blocks' edges may differ; the insides may not.
    edge = 1 - (1 - 2 / (24 * view.scale)) ** 2
    assert wrong.mean() <= edge + 0.06


def test_the_plain_view_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    mask = np.random.default_rng(1).integers(0, 5, (37, 53), dtype=np.uint8)
    pixels, label_map = apply_view(plain_view((37, 53)), image, mask, preprocessing=Preprocessing(), ignore_index=VOID)
    assert np.array_equal(label_map, mask)
    np.testing.assert_allclose(pixels, Preprocessing().normalise(image), atol=1e-6)


def test_a_mirrored_view_mirrors_both_exactly():
    image, mask = blocks(48, 72)
    augmentation = Augmentation(crop_size=(48, 72), scale=(1.0, 1.0), flip=1.0)
    view = draw_view(augmentation, (48, 72), np.random.default_rng(0))
    pixels, label_map = apply_view(view, image, mask, preprocessing=PLAIN, ignore_index=VOID)
    assert np.array_equal(label_map, mask[:, ::-1])
    np.testing.assert_allclose(pixels[..., 0] * 255, mask[:, ::-1] * 30.0, atol=1e-3)


def test_what_lies_outside_is_void_and_the_mean_colour():
    image, mask = blocks(40, 40)
    prepared = Preprocessing()
    view = draw_view(Augmentation(crop_size=(80, 80), scale=(1.0, 1.0), flip=0.0), (40, 40), np.random.default_rng(0))
    pixels, label_map = apply_view(view, image, mask, preprocessing=prepared, ignore_index=VOID)
    assert (label_map == VOID).sum() == 80 * 80 - 40 * 40
    outside = cv2.erode((label_map == VOID).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) == 1
    assert np.abs(pixels[outside]).max() < 0.01


def test_void_stays_void():
    image, mask = blocks(64, 64)
    mask[10:50, 10:50] = VOID
    view = draw_view(Augmentation(crop_size=(64, 64), scale=(1.0, 1.0)), (64, 64), np.random.default_rng(2))
    _, label_map = apply_view(view, image, mask, preprocessing=PLAIN, ignore_index=VOID)
    assert (label_map == VOID).sum() == 40 * 40


def test_equal_generators_draw_equal_views():
    augmentation = Augmentation(crop_size=(64, 64), rotation=10, brightness=0.2, contrast=0.2, saturation=0.3, tint=0.1)
    first = draw_view(augmentation, (100, 90), np.random.default_rng([0, 3, 7]))
    second = draw_view(augmentation, (100, 90), np.random.default_rng([0, 3, 7]))
    other = draw_view(augmentation, (100, 90), np.random.default_rng([0, 4, 7]))
    assert np.array_equal(first.matrix, second.matrix)
    assert np.array_equal(first.gain, second.gain)
    assert not np.array_equal(first.matrix, other.matrix)


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    augmentation = Augmentation(crop_size=(64, 64), scale=(0.5, 0.5), flip=0.0)
    view = draw_view(augmentation, (128, 128), np.random.default_rng(0))
    mask = np.zeros((128, 128), np.uint8)
    pixels, _ = apply_view(view, stripes, mask, preprocessing=PLAIN, ignore_index=VOID)
    assert np.abs(pixels - 0.5).max() < 0.02


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), crop=st.tuples(st.integers(32, 90), st.integers(32, 90)))
def test_a_crop_that_fits_holds_no_void(seed, crop):
    image, mask = blocks(100, 100)
    view = draw_view(Augmentation(crop_size=crop, scale=(1.0, 2.0)), (100, 100), np.random.default_rng(seed))
    _, label_map = apply_view(view, image, mask, preprocessing=PLAIN, ignore_index=VOID)
    assert (label_map != VOID).all()


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="one size"):
        apply_view(
            plain_view((4, 4)),
            np.zeros((4, 4, 3), np.uint8),
            np.zeros((4, 5), np.uint8),
            preprocessing=PLAIN,
            ignore_index=VOID,
        )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.tuples(st.integers(60, 200), st.integers(60, 200)),
    crop=st.tuples(st.integers(32, 100), st.integers(32, 100)),
    place=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_a_crop_holds_the_point_it_is_laid_on(seed, size, crop, place):
    image, _ = blocks(*size)
    y, x = (int(part * length) for part, length in zip(place, size, strict=True))
    marked = np.zeros(size, np.uint8)
    marked[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = 1
    augmentation = Augmentation(crop_size=crop, scale=(0.8, 2.0))
    view = draw_view(augmentation, size, np.random.default_rng(seed), focus=(y + 0.5, x + 0.5))
    _, label_map = apply_view(view, image, marked, preprocessing=PLAIN, ignore_index=VOID)
    assert (label_map == 1).any()
    inside = view.matrix @ np.array([x + 0.5, y + 0.5, 1])
    assert (inside >= -1e-6).all()
    assert (inside <= np.array(crop[::-1]) + 1e-6).all()


def test_a_focus_leaves_a_crop_inside_the_image():
    image, mask = blocks(100, 100)
    for seed in range(20):
        view = draw_view(
            Augmentation(crop_size=(60, 60), scale=(1.0, 2.0)), (100, 100), np.random.default_rng(seed), focus=(0, 99.9)
        )
        _, label_map = apply_view(view, image, mask, preprocessing=PLAIN, ignore_index=VOID)
        assert (label_map != VOID).all()


def test_blur_and_jpeg_noise_change_the_image_and_not_the_mask():
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = generator.integers(0, 5, (64, 64), dtype=np.uint8)
    plain = Augmentation(crop_size=(64, 64), scale=(1.0, 1.0), flip=0.0)
    whole, expected = apply_view(
        draw_view(plain, (64, 64), np.random.default_rng(1)), image, mask, preprocessing=PLAIN, ignore_index=VOID
    )
    for changes in ({"blur": 1.0}, {"jpeg": 1.0}):
        augmentation = Augmentation(crop_size=(64, 64), scale=(1.0, 1.0), flip=0.0, **changes)
        view = draw_view(augmentation, (64, 64), np.random.default_rng(1))
        pixels, label_map = apply_view(view, image, mask, preprocessing=PLAIN, ignore_index=VOID)
        assert np.array_equal(label_map, expected)
        assert 0.01 < np.abs(pixels - whole).mean() < 0.4
        rough = [np.abs(np.diff(part, axis=0)).mean() for part in (pixels, whole)]
        assert rough[0] < rough[1]  # both take away fine detail
    never = draw_view(Augmentation(crop_size=(64, 64)), (64, 64), np.random.default_rng(1))
    assert (never.blur, never.jpeg) == (0, 0)


def test_a_pasted_class_comes_with_its_pixels():
    image, mask = blocks(48, 48)
    donor, donor_mask = np.full((48, 48, 3), 7, np.uint8), np.zeros((48, 48), np.uint8)
    donor_mask[5:9, 20:30] = 3
    before, before_mask = image.copy(), mask.copy()
    paste_class(image, mask, donor, donor_mask, 3)
    pasted = donor_mask == 3
    assert (image[pasted] == 7).all()
    assert (mask[pasted] == 3).all()
    assert np.array_equal(image[~pasted], before[~pasted])
    assert np.array_equal(mask[~pasted], before_mask[~pasted])

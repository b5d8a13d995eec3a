"""What is still, what is a cut, and what flickers, against plain definitions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.footage.motion import CUT_UNITS, STILL_SIDE, STILL_UNITS, Flicker, Watcher


def grey_of(pixels):
    """BT.601's weights, as OpenCV rounds them."""
    red, green, blue = (pixels[..., channel].astype(np.float64) for channel in range(3))
    return np.floor(0.299 * red + 0.587 * green + 0.114 * blue + 0.5)


def plain_still(before, after):
    change = np.abs(grey_of(after) - grey_of(before))
    margin = STILL_SIDE // 2
    padded = np.pad(change, margin, mode="symmetric")
    squares = np.lib.stride_tricks.sliding_window_view(padded, (STILL_SIDE, STILL_SIDE))
    return squares.mean(axis=(2, 3)) < STILL_UNITS


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), noise=st.integers(1, 12))
def test_still_pixels_are_those_of_the_plain_definition(seed, noise):
    generator = np.random.default_rng(seed)
    before = generator.integers(20, 220, (17, 23, 3)).astype(np.uint8)
    after = (before + generator.integers(-noise, noise + 1, before.shape)).astype(np.uint8)
    watcher = Watcher()
    assert watcher.see(before) is None
    motion = watcher.see(after)
    differing = (motion.still > 0) != plain_still(before, after)
    assert differing.mean() < 0.05  # the grey of a few pixels is rounded another way


def test_a_pixel_is_still_below_the_limit_and_not_at_it():
    base = np.full((9, 9, 3), 100, np.uint8)
    for change, expected in ((2, True), (3, False)):
        watcher = Watcher()
        watcher.see(base)
        assert (watcher.see(base + np.uint8(change)).still > 0).all() == expected


def test_a_cut_is_a_large_change_everywhere():
    base = np.full((20, 20, 3), 100, np.uint8)
    moved = base.copy()
    moved[:5] = 255
    for after, expected in ((base, False), (moved, CUT_UNITS < 155 / 4), (base + np.uint8(31), True)):
        watcher = Watcher()
        watcher.see(base)
        assert watcher.see(after).is_cut == expected


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(2, 6))
def test_flicker_is_the_share_of_still_pixels_that_change_their_label(seed, frames):
    generator = np.random.default_rng(seed)
    images = [np.full((12, 14, 3), 90, np.uint8)]
    for _ in range(frames - 1):
        image = images[-1].copy()
        image[:, : int(generator.integers(0, 14))] += np.uint8(20)
        images.append(image)
    labels = [generator.integers(0, 3, (12, 14)).astype(np.uint8) for _ in range(frames)]
    watcher, flicker = Watcher(), Flicker()
    for image, label_map in zip(images, labels, strict=True):
        flicker.see(label_map, watcher.see(image))
    still = changed = 0
    for number in range(1, frames):
        mask = plain_still(images[number - 1], images[number])
        still += mask.sum()
        changed += (mask & (labels[number] != labels[number - 1])).sum()
    assert (flicker.still_pixels, flicker.changed_pixels) == (still, changed)
    assert flicker.share == (changed / still if still else None)


def test_without_still_pixels_the_share_is_unknown():
    flicker = Flicker()
    flicker.see(np.zeros((4, 4), np.uint8), None)
    assert flicker.share is None

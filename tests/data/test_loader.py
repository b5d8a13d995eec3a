"""Batches: every image once an epoch, the same whatever process reads it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.data.layouts import open_dataset
from atrous.data.loader import TrainingImages, _Keys, batches, order
from atrous.preprocessing import Preprocessing
from atrous.transforms import Augmentation


def make(scenes, *, seed=0, cache_bytes=0):
    dataset = open_dataset(scenes)
    return TrainingImages(
        dataset,
        dataset.splits["train"],
        augmentation=Augmentation(crop_size=(40, 48), rotation=5, brightness=0.2, saturation=0.2),
        preprocessing=Preprocessing(),
        seed=seed,
        cache_bytes=cache_bytes,
    )


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 10), st.integers(1, 4), st.integers(0, 50))
def test_each_epoch_holds_every_image_once(images, batch, epochs, seed):
    keys = list(_Keys(images, batch=batch, seed=seed, start=0, stop=epochs * images))
    seen = [key for keys_of_batch in keys for key in keys_of_batch]
    assert sorted(seen) == [(epoch, index) for epoch in range(epochs) for index in range(images)]
    assert all(len(keys_of_batch) == batch for keys_of_batch in keys[:-1])


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 10), st.integers(0, 60))
def test_starting_later_gives_the_rest_of_the_same_sequence(images, batch, start):
    whole = [key for part in _Keys(images, batch=1, seed=3, start=0, stop=100) for key in part]
    rest = [key for part in _Keys(images, batch=batch, seed=3, start=start, stop=100) for key in part]
    assert rest == whole[start:]


def test_the_order_differs_between_epochs_and_seeds():
    assert sorted(order(50, seed=0, epoch=0).tolist()) == list(range(50))
    assert not np.array_equal(order(50, seed=0, epoch=0), order(50, seed=0, epoch=1))
    assert not np.array_equal(order(50, seed=0, epoch=0), order(50, seed=1, epoch=0))


def test_batches_have_the_stated_form(scenes):
    (first, second) = batches(make(scenes), batch=3, stop=4)
    assert first.image.shape == (3, 3, 40, 48)
    assert first.image.dtype == torch.float32
    assert first.image.is_contiguous(memory_format=torch.channels_last)
    assert first.mask.shape == (3, 40, 48)
    assert first.mask.dtype == torch.int64
    assert len(second.names) == 1


def test_a_view_depends_on_seed_epoch_and_name_alone(scenes):
    images, again = make(scenes), make(scenes, cache_bytes=1 << 30)
    again[0, 2]  # a different history, and a filled cache
    for key in ((1, 0), (0, 2)):
        first, second = images[key], again[key]
        assert np.array_equal(first[0], second[0])
        assert np.array_equal(first[1], second[1])
    assert not np.array_equal(images[0, 0][0], images[1, 0][0])
    assert not np.array_equal(images[0, 0][0], make(scenes, seed=1)[0, 0][0])


@pytest.mark.timeout(120)
def test_worker_processes_give_the_same_batches(scenes):
    here = list(batches(make(scenes), batch=2, stop=4))
    there = list(batches(make(scenes), batch=2, stop=4, workers=1))
    for first, second in zip(here, there, strict=True):
        assert first.names == second.names
        assert torch.equal(first.image, second.image)
        assert torch.equal(first.mask, second.mask)

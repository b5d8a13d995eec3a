"""Batches: every image once an epoch, the same whatever process reads it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.data.audit import audit
from atrous.data.layouts import open_dataset
from atrous.data.loader import Batch, TrainingImages, _Keys, batches, order
from atrous.data.rare import find_rare
from atrous.errors import DataError
from atrous.preprocessing import Preprocessing
from atrous.transforms import Augmentation


def make(scenes, *, seed=0, cache_bytes=0, crop=(40, 48), **rare):
    dataset = open_dataset(Path(scenes))
    return TrainingImages(
        dataset,
        dataset.splits["train"],
        augmentation=Augmentation(crop_size=crop, rotation=5, brightness=0.2, saturation=0.2),
        preprocessing=Preprocessing(),
        seed=seed,
        cache_bytes=cache_bytes,
        **rare,
    )


def rare_of(scenes):
    train = audit(open_dataset(scenes)).splits["train"]
    return find_rare(np.asarray(train.class_pixels), train.presence)


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
        assert np.array_equal(first[0]["image"], second[0]["image"])
        assert np.array_equal(first[1], second[1])
    assert not np.array_equal(images[0, 0][0]["image"], images[1, 0][0]["image"])
    assert not np.array_equal(images[0, 0][0]["image"], make(scenes, seed=1)[0, 0][0]["image"])


def test_epochs_go_through_the_views_in_turn(scenes):
    images = make(scenes, views=3)
    pixels = [images[epoch, 1][0]["image"] for epoch in range(7)]
    for epoch in range(7):
        assert np.array_equal(pixels[epoch], pixels[epoch % 3])
    assert not np.array_equal(pixels[0], pixels[1])
    assert np.array_equal(pixels[2], make(scenes)[2, 1][0]["image"])


@given(st.integers(1, 9), st.integers(1, 12))
def test_parts_of_a_batch_are_the_batch(size, number):
    whole = Batch(
        {"a": torch.arange(size * 2).view(size, 2), "b": torch.rand(size, 3)},
        torch.arange(size),
        tuple("abcdefghi"[:size]),
    )
    parts = whole.parts(number)
    assert len(parts) <= number
    for name in ("a", "b"):
        assert torch.equal(torch.cat([part.inputs[name] for part in parts]), whole.inputs[name])
    assert torch.equal(torch.cat([part.mask for part in parts]), whole.mask)
    assert "".join("".join(part.names) for part in parts) == "".join(whole.names)
    assert max(len(part.mask) for part in parts) - min(len(part.mask) for part in parts) <= max(1, size // number)


@pytest.mark.timeout(120)
def test_worker_processes_give_the_same_batches(scenes):
    here = list(batches(make(scenes), batch=2, stop=4))
    there = list(batches(make(scenes), batch=2, stop=4, workers=1))
    for first, second in zip(here, there, strict=True):
        assert first.names == second.names
        assert torch.equal(first.image, second.image)
        assert torch.equal(first.mask, second.mask)


def test_views_with_rare_classes_depend_on_seed_epoch_and_name_alone(scenes):
    options = {"rare": rare_of(scenes), "rare_crops": 0.7, "paste": 0.7}
    images, again = make(scenes, **options), make(scenes, cache_bytes=1 << 30, **options)
    again[5, 1]
    for key in ((0, 0), (1, 2), (2, 3)):
        first, second = images[key], again[key]
        assert np.array_equal(first[0]["image"], second[0]["image"])
        assert np.array_equal(first[1], second[1])


def test_favoured_classes_are_seen_more_often(scenes):
    rare = rare_of(scenes)
    chosen = np.flatnonzero(rare.chances)

    def seen(**options):
        images = make(scenes, crop=(32, 32), rare=rare, **options)
        maps = [images[epoch, index][1] for epoch in range(12) for index in range(len(images))]
        return np.mean([np.isin(label_map, chosen).any() for label_map in maps])

    plain = seen()
    assert seen(rare_crops=1.0) > plain
    assert seen(paste=1.0) > plain


def test_rare_classes_are_those_with_less_than_half_an_even_share():
    presence = np.array([[True, True, False, True], [True, False, False, True]])
    rare = find_rare(np.array([900, 20, 0, 80]), presence)
    assert rare.chances.argsort()[::-1][:2].tolist() == [1, 3]
    assert rare.chances[[0, 2]].tolist() == [0, 0]  # 0 is frequent, 2 does not occur
    assert rare.chances.sum() == pytest.approx(1)
    assert rare.chances[1] / rare.chances[3] == pytest.approx(2)
    rng = np.random.default_rng(0)
    assert {rare.draw_donor(rng) for _ in range(50)} == {(1, 0), (3, 0), (3, 1)}
    assert {rare.draw_within(1, rng) for _ in range(20)} == {3}
    assert find_rare(np.array([10, 10]), np.ones((1, 2), np.bool_)) is None


KILLED_WORKER = """
import multiprocessing, sys
from atrous.data.loader import batches, told_worker_faults
from atrous.errors import TrainingError
sys.path[:0] = sys.argv[2:]
from test_loader import make

if __name__ == "__main__":
    try:
        with told_worker_faults(2):
            stream = batches(make(sys.argv[1]), batch=2, workers=2)
            next(stream)
            multiprocessing.active_children()[0].kill()
            for _ in range(1000):
                next(stream)
    except TrainingError as error:
        print(error)
"""


@pytest.mark.timeout(120)
def test_a_worker_that_is_killed_is_a_clear_error(scenes, tmp_path):
    """In a process of its own: PyTorch tells of a dead worker by a signal, which may come at any moment."""
    script = tmp_path / "script.py"
    script.write_text(KILLED_WORKER)
    here = Path(__file__).parent
    command = [sys.executable, script, scenes, here, here.parent]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"a process that reads images is gone \(.*\); .*--set workers=0\.", done.stdout)
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_breaks_on_the_way_is_told_as_it_is(scenes, tmp_path, workers):
    shutil.copytree(scenes, tmp_path / "copy")
    images = make(tmp_path / "copy")
    broken = images.samples[0].image
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DataError, match=broken.name) as caught:
        list(batches(images, batch=2, stop=4, workers=workers))
    assert "Traceback" not in str(caught.value)

"""The store gives back what it was given, finds damage, and stays within its bounds."""

import os

import pytest
import torch

from atrous.data import features
from atrous.data.features import FeatureStore, key_of


def entry(value=1.0):
    return {"high_level": torch.full((4, 5, 3), value), "mask": torch.arange(20, dtype=torch.uint8).view(4, 5)}


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path, limit=10**9)


def test_what_is_put_is_got(store):
    key = key_of(a=1)
    assert not store.has(key)
    store.put(key, entry())
    again = FeatureStore(store.folder, limit=10**9)
    assert again.has(key)
    got = again.get(key)
    assert torch.equal(got["high_level"], entry()["high_level"])
    assert torch.equal(got["mask"], entry()["mask"])
    assert got["mask"].dtype == torch.uint8


def test_half_the_bytes_on_request(tmp_path):
    store = FeatureStore(tmp_path, limit=10**9, dtype=torch.bfloat16)
    values = torch.randn(64, 64, 8)
    store.put("ab" * 32, {"x": values})
    got = store.get("ab" * 32)["x"]
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, values, rtol=1 / 128, atol=0)
    assert store.path("ab" * 32).stat().st_size < values.numel() * 2 + 2000


def test_keys_tell_everything_apart():
    keys = {key_of(), key_of(a=1), key_of(a="1"), key_of(b=1), key_of(a=1, b=(1, 2)), key_of(a=1, b=(2, 1))}
    assert len(keys) == 6
    assert key_of(a=1, b=2) == key_of(b=2, a=1)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_entry_is_never_given(store, damage):
    key = key_of(a=1)
    store.put(key, entry())
    path = store.path(key)
    whole = path.read_bytes()
    changed = {
        "cut": whole[:-40],
        "flipped": whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:],
        "empty": b"",
        "other": b"not a tensor",
    }[damage]
    path.write_bytes(changed)
    again = FeatureStore(store.folder, limit=10**9)
    assert not again.has(key)
    assert not path.exists()
    again.put(key, entry())
    assert again.has(key)


def test_what_a_killed_process_left_is_removed(store):
    store.put("ab" * 32, entry())
    left = store.path("ab" * 32).with_name(".atrous-0123.safetensors")
    left.write_bytes(b"half")
    store.clean()
    assert not left.exists()
    assert store.has("ab" * 32)


def test_the_oldest_entries_give_way(tmp_path):
    store = FeatureStore(tmp_path, limit=10**9)
    keys = [key_of(number=number) for number in range(4)]
    for age, key in enumerate(keys):
        store.put(key, entry())
        os.utime(store.path(key), (1000 + age, 1000 + age))
    size = store.path(keys[0]).stat().st_size
    store.limit = 4 * size
    assert store.make_room(size, keep=[keys[0]])
    there = [key for key in keys if store.path(key).exists()]
    assert there == [keys[0], keys[2], keys[3]]


def test_without_room_nothing_is_removed(tmp_path, monkeypatch):
    store = FeatureStore(tmp_path, limit=10_000)
    key = key_of(number=1)
    store.put(key, entry())
    assert not store.make_room(50_000, keep=[])
    assert not store.make_room(9_990, keep=[key])
    assert store.has(key)
    monkeypatch.setattr(features, "SPARE_BYTES", 1 << 60)  # as if the disk were nearly full
    assert not store.make_room(1, keep=[])
    assert store.path(key).exists()


def test_the_size_is_known_beforehand(store):
    store.put("cd" * 32, entry())
    assert store.path("cd" * 32).stat().st_size == pytest.approx(store.size_of(entry()), abs=1024)

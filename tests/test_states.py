import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from atrous.checkpoint import load_state, save_state
from atrous.errors import WeightsError
from atrous.tensors import read_tensors, write_tensors


def equal(a: Any, b: Any) -> bool:
    """Same types, same values, bit for bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b or (a != a and b != b)


TENSORS = st.builds(
    lambda shape, dtype: torch.arange(int(np.prod(shape))).reshape(shape).to(dtype),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.sampled_from(
        [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]
    ),
)
ARRAYS = st.sampled_from(["f4", "f8", "i8", "u1", "u2", "?"]).map(lambda kind: np.arange(6).reshape(2, 3).astype(kind))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    TENSORS,
    ARRAYS,
    st.just(np.array(3.5)),
)
KEYS = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.binary())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(state=st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_nesting_comes_back_exactly(state: dict[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    save_state(path, state)
    assert equal(load_state(path), state)


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, amsgrad=True),
        lambda parameters: torch.optim.SGD(parameters, lr=0.007, momentum=0.9, nesterov=True),
    ],
    ids=["AdamW", "SGD"],
)
def test_a_resumed_optimiser_goes_on_bit_for_bit(make: Any, tmp_path: Path) -> None:
    def network_and_optimiser() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
        network = network.to(memory_format=torch.channels_last)
        groups = [{"params": network[0].parameters(), "lr": 0.05}, {"params": network[2].parameters()}]
        return network, make(groups)

    def step(network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        network(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimiser.step()

    network, optimiser = network_and_optimiser()
    for _ in range(3):
        step(network, optimiser)
    random.seed(5)
    generator = np.random.default_rng(7)
    generator.random(3)
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "rng": {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": generator.bit_generator.state},
        "best": float("-inf"),
        "epoch": 3,
    }
    save_state(tmp_path / "last.safetensors", state)
    step(network, optimiser)
    numbers = (random.random(), generator.random())

    loaded = load_state(tmp_path / "last.safetensors")
    resumed, resumed_optimiser = network_and_optimiser()
    resumed.load_state_dict(loaded["network"])
    resumed_optimiser.load_state_dict(loaded["optimiser"])
    torch.set_rng_state(loaded["rng"]["torch"])
    random.setstate(loaded["rng"]["python"])
    generator.bit_generator.state = loaded["rng"]["numpy"]
    step(resumed, resumed_optimiser)
    assert (random.random(), generator.random()) == numbers
    assert equal(dict(resumed.state_dict()), dict(network.state_dict()))
    assert equal(resumed_optimiser.state_dict(), optimiser.state_dict())
    assert (loaded["best"], loaded["epoch"]) == (float("-inf"), 3)


def test_shared_and_strided_tensors_are_kept_by_value(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {"base": base, "again": base, "row": base[1], "turned": base.T, "parameter": nn.Parameter(base[0])}
    save_state(tmp_path / "s.safetensors", state)
    loaded = load_state(tmp_path / "s.safetensors")
    assert all(type(tensor) is Tensor and torch.equal(tensor, state[key]) for key, tensor in loaded.items())


def test_subclasses_become_the_plain_type(tmp_path: Path) -> None:
    save_state(tmp_path / "s.safetensors", OrderedDict(a=np.float64(0.1), b=np.int64(3), c=np.bool_(True)))
    assert equal(load_state(tmp_path / "s.safetensors"), {"a": 0.1, "b": 3, "c": True})


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": [1, {2}]}, r"state\['a'\]\[1\] is a set"),
        ({"a": {(1, 2): 3}}, r"state\['a'\] has the key \(1, 2\)"),
        ({"a": torch.eye(2).to_sparse()}, r"state\['a'\] is a sparse"),
        ({"a": Path()}, r"state\['a'\] is a \w*Path"),
    ],
)
def test_what_cannot_be_kept_is_named(state: dict[str, Any], where: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=where):
        save_state(tmp_path / "s.safetensors", state)
    assert not list(tmp_path.iterdir())


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    write_tensors(path, {"a": torch.ones(1)}, key="other", document={})
    with pytest.raises(WeightsError, match="holds no training state"):
        load_state(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_state(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"format_version": 1},
        {"format_version": 2, "state": {"dict": []}},
        {"format_version": 1, "state": [1]},
        {"format_version": 1, "state": {"dict": [[1]]}},
        {"format_version": 1, "state": {"dict": [[["x"], 1]]}},
        {"format_version": 1, "state": {"dict": [["a", {"tensor": "7"}]]}},
        {"format_version": 1, "state": {"dict": [["a", {"tensor": ["7"]}]]}},
        {"format_version": 1, "state": {"dict": [["a", {"bytes": "!"}]]}},
        {"format_version": 1, "state": {"dict": [["a", {"float": "x"}]]}},
        {"format_version": 1, "state": {"dict": [["a", {"tuple": 3}]]}},
        {"format_version": 1, "state": {"dict": [["a", {"code": "x"}]]}},
        {"format_version": 1, "state": {"dict": 5}},
        {"format_version": 1, "state": {}},
    ],
    ids=str,
)
def test_a_wrong_document_is_one_kind_of_error(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    write_tensors(path, {"0": torch.ones(1)}, key="atrous_state", document=document)
    with pytest.raises(WeightsError, match=r"Expected"):
        load_state(path)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    state = {"a": torch.arange(3.0), "b": 0.5}
    save_state(path, state)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :])
        try:
            loaded = load_state(path)
        except WeightsError:
            continue
        assert equal(loaded, state), place


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_state(tmp_path / name, {"x": torch.ones(2), "y": [1, 2]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    tensors, metadata = read_tensors(tmp_path / "a")
    assert list(tensors) == ["0"]
    assert list(metadata) == ["atrous_state"]

"""A converted file is made once and kept, is known by what it depends on, and leaves nothing behind."""

import tempfile

import pytest
import torch
from engine_networks import Foreign, image, network_of

from atrous.engines import PlainEngine, conversion, make_engine
from atrous.engines.conversion import converted, is_converted
from atrous.inference.tracing import UntraceableError
from random_weights import randomise
from tiny_network import tiny

CPU = torch.device("cpu")


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """An own folder for temporary files, and what is to be done at exit."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def at_exit(monkeypatch):
    todo = []
    monkeypatch.setattr(
        conversion.atexit, "register", lambda work, *rest, **options: todo.append((work, rest, options))
    )
    return todo


@pytest.fixture
def exports(monkeypatch, cache, temporary):
    """Exports that take no time; returns the number of bands of each."""
    made = []

    def export(module, path, bands):
        made.append(bands)
        path.write_bytes(f"export {len(made)}".encode())

    monkeypatch.setattr(conversion, "_export", export)
    monkeypatch.setattr(conversion, "need", lambda *packages: None)
    return made


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def test_a_kept_file_is_made_once(exports, cache, temporary):
    said = []
    network = network_of("deeplab")
    assert not is_converted(network)
    paths = {converted(network_of("deeplab"), bands=4, keep=True, say=said.append) for _ in range(3)}
    (path,) = paths
    assert path.read_bytes() == b"export 1"
    assert path.is_relative_to(cache)
    assert is_converted(network)
    assert (exports, said) == ([4], ["the network is converted to ONNX, once"])
    assert files(cache) == [path.name, path.with_suffix(".sha256").name]
    assert files(temporary) == []
    assert list(temporary.iterdir()) == []
    assert converted(network, bands=4, keep=False) == path  # there is one, so it is used


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def changed(path):
    path.write_bytes(path.read_bytes().replace(b"1", b"7"))


def emptied(path):
    path.write_bytes(b"")


def removed(path):
    path.unlink()


def without_digest(path):
    path.with_suffix(".sha256").unlink()


def with_a_damaged_digest(path):
    path.with_suffix(".sha256").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize("damage", [cut, changed, emptied, removed, without_digest, with_a_damaged_digest])
def test_a_damaged_file_is_made_again(exports, damage):
    network = network_of("foreign")
    path = converted(network, bands=3, keep=True)
    damage(path)
    assert not is_converted(network)
    assert converted(network, bands=3, keep=True) == path
    assert path.read_bytes() == b"export 2"
    assert is_converted(network)


def test_a_file_that_is_not_kept_goes_with_the_process(exports, cache, temporary, at_exit):
    network = network_of("foreign")
    path = converted(network, bands=3, keep=False)
    assert path.read_bytes() == b"export 1"
    assert path.is_relative_to(temporary)
    assert files(cache) == []
    assert not is_converted(network)
    for work, arguments, options in at_exit:
        work(*arguments, **options)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("keep", [True, False])
def test_an_export_that_fails_leaves_nothing(exports, cache, temporary, at_exit, monkeypatch, keep):
    def fail(module, path, bands):
        path.write_bytes(b"half")
        raise RuntimeError("no ONNX form")

    monkeypatch.setattr(conversion, "_export", fail)
    with pytest.raises(RuntimeError, match="no ONNX form"):
        converted(network_of("foreign"), bands=3, keep=keep)
    for work, arguments, options in at_exit:
        work(*arguments, **options)
    assert list(temporary.iterdir()) == []
    assert files(cache) == []


def test_a_network_that_cannot_be_followed_leaves_nothing(exports, cache, temporary):
    with pytest.raises(UntraceableError, match="no convolution"):
        converted(torch.nn.ReLU(), bands=3, keep=True)
    assert list(temporary.iterdir()) == []
    assert files(cache) == []


def other_weight(network):
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] += 1e-6


def other_statistics(network):
    next(network.buffers()).view(-1)[0] += 1e-6


def other_rate(network):
    """The same tensors, another function."""
    conv = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3))
    conv.padding = conv.dilation = (2, 2)


def other_norm(network):
    next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)).eps = 1e-3


@pytest.mark.parametrize("change", [other_weight, other_statistics, other_rate, other_norm])
@pytest.mark.parametrize("kind", ["deeplab", "foreign"])
def test_another_network_has_another_file(exports, kind, change):
    network = network_of(kind)
    path = converted(network, bands=3, keep=True)
    change(network)
    assert not is_converted(network)
    assert converted(network, bands=3, keep=True) != path
    assert len(exports) == 2


def test_networks_of_the_same_tensors_and_other_rates_have_files_of_their_own(exports):
    first, second = Foreign(dilation=1), Foreign(dilation=2)
    second.load_state_dict(first.state_dict())
    assert converted(first, bands=3, keep=True) != converted(second, bands=3, keep=True)
    first, second = (tiny(3, atrous_rates=(rate,)) for rate in (1, 2))
    second.load_state_dict(first.state_dict())
    assert converted(first, bands=3, keep=True) != converted(second, bands=3, keep=True)


@pytest.mark.parametrize(("where", "value"), [("OPSET", 21), ("__version__", "0.0.0")])
def test_another_version_has_another_file(exports, monkeypatch, where, value):
    network = network_of("foreign")
    converted(network, bands=3, keep=True)
    monkeypatch.setattr(conversion, where, value)
    assert not is_converted(network)


def test_a_network_put_together_by_hand_can_be_kept(exports):
    network = tiny(3)
    network.name, network.settings = None, {}
    assert converted(network, bands=3, keep=True) == converted(network, bands=3, keep=True)


def test_a_real_file_that_was_damaged_is_made_again(engine_of):
    network = network_of("foreign")  # whose file other tests use, so that it may be there already
    expected = PlainEngine(network, device=CPU).coarse_logits(image())
    engine_of("onnxruntime", network)
    path = conversion._kept_path(network)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    torch.testing.assert_close(engine_of("onnxruntime", network).coarse_logits(image()), expected, rtol=1e-4, atol=1e-4)
    assert is_converted(network)


def test_making_an_engine_that_does_not_keep_leaves_the_cache_as_it_was(cache, temporary, at_exit, monkeypatch):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    engine = make_engine("onnxruntime", randomise(Foreign(4), seed=2), device=CPU, bands=3)
    assert files(cache) == []
    for work, arguments, options in at_exit:
        work(*arguments, **options)
    assert engine.coarse_logits(image()).shape == (1, 4, 61, 83)  # the file is no more needed

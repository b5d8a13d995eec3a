"""A convolution in one step of oneDNN equals the plain operations one after the other."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from atrous.inference import convolution
from atrous.inference.convolution import ACTIVATIONS, FusedConv2d, LazyConv2d, activation_of

CLOSE = 1e-5
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def fused(conv, activation="none"):
    return FusedConv2d(conv.requires_grad_(False), activation).eval()


def conv(*arguments, seed=0, **options):
    torch.manual_seed(seed)
    return nn.Conv2d(*arguments, **options)


def maps(*shape, seed=1, channels_last=True):
    """Both sides of 0, and beyond 6, where every activation bends."""
    made = 4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return made.contiguous(memory_format=torch.channels_last) if channels_last else made


def assert_plain(layer, x, other=None):
    """The layer gives what `plain` gives, and leaves `other` alone unless it may take its place."""
    with torch.inference_mode():
        expected = layer.plain(x, other)
        given = None if other is None else other.clone(memory_format=torch.preserve_format)
        result = layer(x) if other is None else layer(x, given)
    torch.testing.assert_close(result, expected, rtol=CLOSE, atol=CLOSE * float(expected.abs().max()))
    if given is not None and other is not None and not layer.overwrites:
        assert torch.equal(given, other)


@pytest.mark.parametrize("other", ["nothing", "added", "overwritten"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation, other):
    layer = fused(conv(5, 6, 3, padding=1), activation)
    x, added = maps(2, 5, 11, 13), maps(2, 6, 11, 13, seed=2)
    assert_plain(layer, x, None if other == "nothing" else added)
    assert layer.pack(x.shape)
    layer.overwrites = other == "overwritten"
    assert_plain(layer, x, None if other == "nothing" else added)
    assert "packed=True" in repr(layer)


def test_an_activation_changes_something():
    x = maps(1, 5, 11, 13)
    results = []
    for activation in ACTIVATIONS:
        layer = fused(conv(5, 6, 3), activation)
        layer.pack(x.shape)
        results.append(layer(x))
    assert all(not torch.allclose(a, b) for i, a in enumerate(results) for b in results[:i])


def test_overwriting_saves_the_other_maps_memory():
    layer = fused(conv(5, 6, 1), "relu")
    x, other = maps(1, 5, 11, 13), maps(1, 6, 11, 13, seed=2)
    assert layer.pack(x.shape)
    assert layer(x, other).data_ptr() != other.data_ptr()
    layer.overwrites = True
    assert layer(x, other).data_ptr() == other.data_ptr()


@quick
@given(
    groups=st.sampled_from([1, 2, 3]),
    channels=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    rate=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    share=st.floats(0, 0.5),
    bias=st.booleans(),
    size=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    with_other=st.booleans(),
    channels_last=st.booleans(),
    activation=st.sampled_from(["none", "relu", "hardswish"]),
    seed=st.integers(0, 99),
)
def test_every_geometry(
    groups, channels, kernel, stride, rate, share, bias, size, with_other, channels_last, activation, seed
):
    reach = [(length - 1) * step for length, step in zip(kernel, rate, strict=True)]
    padding = [int(share * length) for length in reach]  # torch's own convolution crashes with more than half
    assume(all(n + 2 * p > r for n, p, r in zip(size[1:], padding, reach, strict=True)))
    options = {"stride": stride, "dilation": rate, "padding": padding, "groups": groups, "bias": bias}
    layer = fused(conv(groups * channels[0], groups * channels[1], kernel, seed=seed, **options), activation)
    x = maps(size[0], groups * channels[0], *size[1:], seed=seed, channels_last=channels_last)
    other = torch.randn_like(layer.plain(x)) if with_other else None
    layer.pack((1, groups * channels[0], 9, 9))
    assert_plain(layer, x, other)


@pytest.mark.parametrize("shape", [(1, 8, 1, 1), (1, 8, 3, 200), (3, 8, 64, 5), (2, 8, 33, 33)])
def test_another_size_than_that_it_was_packed_for(shape):
    layer = fused(conv(8, 16, 3, padding=2, dilation=2), "relu")
    assert layer.pack((1, 8, 33, 33))
    assert_plain(layer, maps(*shape))
    assert_plain(layer, maps(*shape), maps(shape[0], 16, *shape[2:]))


@pytest.mark.parametrize(
    "layer",
    [
        conv(3, 4, 3, padding=1).double(),
        conv(3, 4, 3, padding=1, padding_mode="reflect"),
        conv(3, 4, 3, padding=1, padding_mode="circular"),
        conv(3, 4, 3, padding=1, padding_mode="replicate"),
        conv(3, 4, 3, padding="same", dilation=2),
        conv(3, 4, 3, padding="valid"),
    ],
    ids=["double", "reflect", "circular", "replicate", "same", "valid"],
)
def test_what_onednn_cannot_do_is_done_plainly(layer):
    layer = fused(layer, "relu")
    x = maps(2, 3, 9, 11).to(layer.conv.weight.dtype)
    expected = layer.plain(x)
    assert not layer.pack(x.shape)
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer(x, expected), layer.plain(x, expected))


def test_a_deep_copy_works_and_is_independent():
    layer = fused(conv(3, 4, 3), "relu")
    x = maps(1, 3, 9, 9)
    expected = layer(x)
    assert layer.pack(x.shape)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        layer.conv.weight.zero_()
    torch.testing.assert_close(twin(x), expected)
    assert twin.pack(x.shape)
    torch.testing.assert_close(twin(x), expected)
    assert twin.activation == "relu"


class Changed:
    """torch.ops.mkldnn of a PyTorch to come."""

    def __init__(self, **operations):
        self.real = torch.ops.mkldnn
        self.__dict__.update(operations)

    def __getattr__(self, name):
        return getattr(self.real, name)


def no_such_operation(*arguments):
    raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute")


def other_arguments(*arguments):
    raise TypeError("unexpected arguments")


def unsupported(*arguments):
    raise RuntimeError("not built with oneDNN")


def wrong_result(x, *arguments):
    return torch.zeros(1)


@pytest.fixture
def change(monkeypatch):
    """Put other operations in the place of torch's; what was found to work is forgotten, before and afterwards."""
    convolution.working_ways.cache_clear()
    yield lambda **operations: monkeypatch.setattr(torch.ops, "mkldnn", Changed(**operations))
    monkeypatch.undo()
    convolution.working_ways.cache_clear()


@pytest.mark.parametrize("fault", [no_such_operation, other_arguments, unsupported, wrong_result])
@pytest.mark.parametrize("name", ["_reorder_convolution_weight", "_convolution_pointwise"])
def test_where_the_operations_fail_or_err_it_is_plain(change, name, fault):
    change(**{name: fault})
    layer = fused(conv(3, 4, 3), "relu")
    x, other = maps(1, 3, 9, 9), maps(1, 4, 7, 7)
    assert not layer.pack(x.shape)
    assert torch.equal(layer(x), layer.plain(x))
    assert torch.equal(layer(x, other), layer.plain(x, other))


@pytest.mark.parametrize("name", ["_convolution_pointwise", "_convolution_pointwise_"])
@pytest.mark.parametrize("fault", [no_such_operation, other_arguments, unsupported, wrong_result])
def test_where_only_sums_fail_or_err_the_rest_is_packed(change, name, fault):
    change(**{name: Sumless(getattr(torch.ops.mkldnn, name), fault)})
    layer = fused(conv(3, 4, 3), "relu")
    x, other = maps(1, 3, 9, 9), maps(1, 4, 7, 7)
    assert layer.pack(x.shape)
    assert_plain(layer, x)
    for layer.overwrites in (False, True):
        assert torch.equal(layer(x, other.clone()), layer.plain(x, other))


class Sumless:
    """An operation of which the form with a sum is another than today."""

    def __init__(self, real, binary):
        self.real = real
        self.binary = binary

    def __call__(self, *arguments):
        return self.real(*arguments)


def test_these_operations_work_here():
    """Where this fails, PyTorch has changed them: networks then run on, but slower."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of PyTorch has no oneDNN")
    ways = convolution.working_ways()
    assert {(name, False) for name in ACTIVATIONS} <= ways
    assert {("none", True), ("relu", True)} <= ways


class TestLazyWeights:
    """Weights that are made when they are needed, and given back where others are laid out."""

    @staticmethod
    def lazy(made, **options):
        usual = conv(3, 4, 3, **options).requires_grad_(False)

        def make(for_good):
            made.append(for_good)
            return usual.weight * 2, None if usual.bias is None else usual.bias + 1

        return usual, LazyConv2d(usual, make, in_channels=3, bias=usual.bias is not None)

    @pytest.mark.parametrize(
        "options", [{}, {"bias": False}, {"padding": "same"}, {"padding_mode": "reflect", "padding": 1}]
    )
    def test_they_are_made_once(self, options):
        made = []
        usual, layer = self.lazy(made, **options)
        x = maps(1, 3, 9, 9)
        assert layer.weight.is_meta
        expected = nn.Conv2d(3, 4, 3, **options)
        with torch.no_grad():
            expected.weight.copy_(usual.weight * 2)
            if usual.bias is not None and expected.bias is not None:
                expected.bias.copy_(usual.bias + 1)
            for _ in range(2):
                torch.testing.assert_close(layer(x), expected(x))
        assert len(made) == 1

    def test_packed_they_are_given_back_and_copies_make_their_own(self):
        made = []
        _, lazy = self.lazy(made)
        layer = fused(lazy, "relu")
        x = maps(1, 3, 9, 9)
        expected = layer.plain(x)
        layer.packs = True
        for _ in range(2):
            torch.testing.assert_close(layer(x), expected)
        assert layer.conv.weight.is_meta
        assert layer.conv.bias is not None
        assert not layer.conv.bias.is_meta
        torch.testing.assert_close(copy.deepcopy(layer)(x), expected)
        torch.testing.assert_close(layer.plain(x), expected)

    def test_what_cannot_be_packed_keeps_them(self):
        made = []
        _, lazy = self.lazy(made, padding=1, padding_mode="reflect")
        layer = fused(lazy, "relu")
        layer.packs = True
        for _ in range(2):
            layer(maps(1, 3, 9, 9))
        assert len(made) == 1
        assert not layer.conv.weight.is_meta


def test_layers_that_it_takes_in():
    known = [nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.Hardsigmoid(), nn.Sigmoid()]
    assert [activation_of(layer) for layer in known] == ["relu", "relu6", "hardswish", "hardsigmoid", "sigmoid"]

    class Leaky(nn.ReLU):
        pass

    for layer in (nn.Tanh(), nn.LeakyReLU(), nn.Hardtanh(0, 1), Leaky(), nn.Identity()):
        assert activation_of(layer) is None

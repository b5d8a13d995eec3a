"""The trial takes the fastest way, and without Numba the plain one."""

import builtins
import sys

import pytest
import torch
from convolutions import random_convolution, random_image
from torch import nn

import atrous
from atrous.polyphase import choice
from atrous.polyphase.choice import candidates, choose
from atrous.polyphase.layer import PolyphaseConv2d
from atrous.polyphase.plain import PlainConv2d


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(choice, "_found", {})


def timed(monkeypatch, times):
    """Let trials find these times, and return what was tried."""
    tried = []

    def trial(modules, image, seconds):
        tried.append(list(modules))
        return {name: times[name] for name in modules}

    monkeypatch.setattr(choice, "_trial", trial)
    return tried


@pytest.mark.parametrize(
    ("size", "rate", "expected"),
    [
        ((65, 65), 1, [("F4", "F4"), ("F6", "F6")]),
        ((65, 65), 12, [("F4", "F4"), ("F6", "F6")]),
        ((65, 65), 24, [("P3", "P3")]),
        ((65, 65), 36, [("P2", "P2")]),
        ((33, 33), 36, []),  # a 1x1 convolution
        ((33, 65), 36, [("P1", "P2")]),
        ((128, 256), 64, [("P2", "F4")]),  # F6 would save nothing on lines of four
        ((128, 256), 36, [("F4", "F4")]),
        ((0, 5), 1, []),
    ],
)
def test_candidates_fit_the_map(size, rate, expected):
    assert candidates(random_convolution(16, 16, rate), *size) == expected


def test_few_channels_and_other_convolutions_have_no_candidates():
    assert candidates(random_convolution(3, 64, 1), 65, 65) == []
    assert candidates(nn.Conv2d(64, 64, 3, stride=2, padding=1), 65, 65) == []


def test_without_numba_the_plain_way_is_taken(monkeypatch):
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    tried = timed(monkeypatch, {})
    conv = random_convolution(16, 16, 12)
    for _ in range(2):
        found = choose(conv, 65, 65, relu=True)
        assert found.name == "plain"
        assert "atrous[fast]" in found.reason
        assert isinstance(found.module, PlainConv2d)
        assert found.module.conv is conv
    assert tried == []


def test_everything_but_the_kernels_imports_without_numba(monkeypatch):
    real = builtins.__import__

    def without_numba(name, *arguments, **options):
        if name.partition(".")[0] in ("numba", "llvmlite"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(atrous, "polyphase", sys.modules["atrous.polyphase"])  # to have it back afterwards
    for name in [name for name in sys.modules if name.startswith("atrous.polyphase")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_numba)
    for name in ("choice", "layer", "plain", "threads", "tiles", "transforms", "workspace"):
        __import__(f"atrous.polyphase.{name}")


def test_a_convolution_that_nothing_else_fits_stays(monkeypatch):
    tried = timed(monkeypatch, {})
    found = choose(nn.Conv2d(16, 16, 1), 65, 65)
    assert (found.name, tried) == ("plain", [])


class TestTrials:
    @pytest.fixture(autouse=True)
    def numba(self):
        pytest.importorskip("numba", reason="the compiled ways need Numba (the extra `fast`)")

    def test_the_fastest_is_taken_and_remembered(self, monkeypatch):
        tried = timed(monkeypatch, {"plain": 4.0, "F4": 2.0, "F6": 1.0})
        for _ in range(2):
            found = choose(random_convolution(16, 16, 1), 20, 20)
            assert found.name == "F6"
            assert isinstance(found.module, PolyphaseConv2d)
            assert "4.0 times" in found.reason
        assert tried == [["plain", "F4"], ["F4", "F6"]]  # no more than two ways' filters are there at once

    def test_smaller_filters_win_where_times_are_alike(self, monkeypatch):
        timed(monkeypatch, {"plain": 4.0, "F4": 1.02, "F6": 1.0})
        assert choose(random_convolution(16, 16, 1), 20, 20).name == "F4"

    def test_nothing_is_slower_than_the_plain_way(self, monkeypatch):
        timed(monkeypatch, {"plain": 1.0, "F4": 0.98, "F6": 1.5})
        assert choose(random_convolution(16, 16, 1), 20, 20).name == "plain"

    def test_taps_that_see_only_padding_can_be_left_out(self, monkeypatch):
        tried = timed(monkeypatch, {"plain": 2.0, "shifted": 1.0, "P2": 1.5})
        conv = random_convolution(16, 16, 12)
        found = choose(conv, 20, 20)
        assert (found.name, tried) == ("shifted", [["plain", "shifted"], ["shifted", "P2"]])
        image = random_image(16, 20, 20)
        torch.testing.assert_close(found.module(image), conv(image), rtol=0, atol=1e-5)

    def test_where_the_kernels_fail_the_plain_way_is_taken(self, monkeypatch):
        from atrous.polyphase import program

        def broken(self):
            raise NotImplementedError("no such processor")

        monkeypatch.setattr(program.Layer, "kernels", broken)
        found = choose(random_convolution(16, 16, 1), 20, 20)
        assert found.name == "plain"
        assert "no such processor" in found.reason

    def test_memory_can_be_limited(self, monkeypatch):
        tried = timed(monkeypatch, {"plain": 4.0, "F4": 2.0, "F6": 1.0})
        assert choose(random_convolution(16, 16, 1), 20, 20, most_bytes=36 * 16 * 16 * 4).name == "F4"
        assert tried == [["plain", "F4"]]

    def test_a_real_trial_gives_the_convolution(self):
        conv = random_convolution(16, 32, 1)
        found = choose(conv, 24, 24, relu=True, seconds=0.01)
        assert set(found.seconds) == {"plain", "F4", "F6"}
        image = random_image(16, 24, 24)
        with torch.inference_mode():
            torch.testing.assert_close(found.module(image), conv(image).relu(), rtol=0, atol=1e-4)

"""Keeping freed memory changes no result and may be asked for twice."""

import sys

import torch

from atrous.allocator import keep_freed_memory


def test_it_can_be_asked_for_anywhere_and_twice():
    before = torch.ones(1000, 1000).sum()
    assert keep_freed_memory() == keep_freed_memory()
    assert torch.equal(torch.ones(1000, 1000).sum(), before)
    if not sys.platform.startswith("linux"):
        assert not keep_freed_memory()

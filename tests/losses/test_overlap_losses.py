"""Dice and Lovasz against their definitions; absent classes and void do not count."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.losses import dice_loss, lovasz_loss


def sharp(target, classes, height=40.0):
    """Logits that are certain of `target`."""
    return torch.nn.functional.one_hot(target, classes).T.float() * height


def jaccard_loss(wrong, truth):
    """1 - IoU of a class when the pixels in `wrong` are predicted wrongly: the set function that Lovasz extends."""
    missed, added = (wrong & truth).sum(), (wrong & ~truth).sum()
    return 1 - (truth.sum() - missed) / (truth.sum() + added)


@pytest.mark.parametrize("loss", [dice_loss, lovasz_loss])
def test_certain_and_right_is_zero_and_certain_and_wrong_is_one(loss):
    target = torch.tensor([0, 1, 2, 1])
    assert float(loss(sharp(target, 3), target)) == pytest.approx(0, abs=1e-6)
    assert float(loss(sharp((target + 1) % 3, 3), target)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("wrong", list(itertools.product([False, True], repeat=5)))
def test_lovasz_of_certain_predictions_is_the_jaccard_loss(wrong):
    """At the corners of the cube the extension is the set function itself, for every set of wrong pixels."""
    target = torch.tensor([0, 0, 1, 1, 1])
    flips = torch.tensor(wrong)
    predicted = torch.where(flips, 1 - target, target)
    expected = torch.stack([jaccard_loss(flips, target == index) for index in (0, 1)]).mean()
    torch.testing.assert_close(lovasz_loss(sharp(predicted, 2), target), expected.float(), atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), pixels=st.integers(1, 40))
def test_lovasz_is_the_area_under_the_jaccard_loss_of_the_level_sets(seed, pixels):
    """The Lovasz extension is the integral over t of the set function of {error > t}, which needs no sorting."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, pixels, generator=generator)
    target = torch.randint(0, 3, (pixels,), generator=generator)
    total, present = 0.0, target.unique().tolist()
    for index in present:
        truth = target == index
        errors = (truth.float() - logits.softmax(dim=0)[index]).abs()
        levels = torch.cat([torch.zeros(1), errors.sort().values])
        for low, high in itertools.pairwise(levels.tolist()):
            total += (high - low) * float(jaccard_loss(errors > low, truth))
    assert float(lovasz_loss(logits, target)) == pytest.approx(total / len(present), abs=1e-5)


def test_dice_is_the_formula():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 30, generator=generator)
    target = torch.randint(0, 2, (30,), generator=generator)  # class 2 is absent
    scores = logits.softmax(dim=0)
    parts = []
    for index in (0, 1):
        truth = (target == index).float()
        parts.append(1 - 2 * (scores[index] * truth).sum() / (scores[index].sum() + truth.sum()))
    torch.testing.assert_close(dice_loss(logits, target), torch.stack(parts).mean())


@pytest.mark.parametrize("loss", [dice_loss, lovasz_loss])
def test_the_gradient_lowers_the_loss(loss):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 50, generator=generator).requires_grad_()
    target = torch.randint(0, 4, (50,), generator=generator)
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient.isfinite().all()
    assert loss(logits.detach() - 0.5 * gradient, target) < value

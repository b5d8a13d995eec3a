"""Losses are exact about void, and the banded one equals the plain one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from atrous.losses import cross_entropy, resized_cross_entropy

VOID = 255


def random_case(seed, *, batch=2, classes=5, size=(17, 23), void=0.2):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, *size, generator=generator) * 3
    mask = torch.randint(0, classes, (batch, *size), generator=generator)
    mask[torch.rand(mask.shape, generator=generator) < void] = VOID
    return logits, mask


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_the_mean_over_valid_pixels(weighted):
    logits, mask = random_case(0)
    weights = torch.rand(5) + 0.5 if weighted else None
    terms, total = [], 0.0
    for n, y, x in (mask != VOID).nonzero().tolist():
        target = int(mask[n, y, x])
        weight = float(weights[target]) if weights is not None else 1.0
        terms.append(-weight * float(torch.log_softmax(logits[n, :, y, x].double(), 0)[target]))
        total += weight
    loss = cross_entropy(logits, mask, class_weights=weights)
    assert float(loss) == pytest.approx(sum(terms) / total, rel=1e-5)


def test_void_pixels_change_neither_value_nor_gradient():
    logits, mask = random_case(1)
    changed = logits.clone()
    changed[(mask == VOID)[:, None].expand_as(logits)] += 100
    logits.requires_grad_()
    changed.requires_grad_()
    first, second = cross_entropy(logits, mask), cross_entropy(changed, mask)
    assert torch.equal(first, second)
    first.backward()
    second.backward()
    assert torch.equal(logits.grad, changed.grad)
    assert (logits.grad[(mask == VOID)[:, None].expand_as(logits)] == 0).all()


@pytest.mark.parametrize("loss", [cross_entropy, resized_cross_entropy])
def test_a_batch_of_void_gives_zero_and_zero_gradients(loss):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((1, 4, 4), VOID))
    assert value.item() == 0
    value.backward()
    assert (logits.grad == 0).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    classes=st.integers(1, 30),
    coarse=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    weighted=st.booleans(),
)
def test_the_banded_loss_equals_resizing_first(seed, classes, coarse, size, weighted):
    logits, _ = random_case(seed, classes=classes, size=coarse)
    _, mask = random_case(seed, classes=classes, size=size)
    weights = torch.linspace(0.5, 2, classes) if weighted else None
    logits.requires_grad_()
    resized = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    plain = cross_entropy(resized, mask, class_weights=weights)
    (expected,) = torch.autograd.grad(plain, logits)
    banded = resized_cross_entropy(logits, mask, class_weights=weights)
    (gradient,) = torch.autograd.grad(banded, logits)
    torch.testing.assert_close(banded, plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_banded_loss_crosses_bands(monkeypatch):
    monkeypatch.setattr("atrous.losses.BAND_ELEMENTS", 3 * 40 * 7)
    logits, _ = random_case(3, classes=3, size=(11, 10))
    _, mask = random_case(3, classes=3, size=(44, 40))
    resized = functional.interpolate(logits, size=(44, 40), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized_cross_entropy(logits, mask), cross_entropy(resized, mask))

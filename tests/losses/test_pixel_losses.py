"""Pixel losses are exact about void, and the banded ones equal the plain ones."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import VOID, random_case
from torch.nn import functional

from atrous.losses import cross_entropy, pixel_losses, resized_cross_entropy
from atrous.losses.banded import resize, resized_pixel_losses, resized_pixel_sum
from atrous.losses.pixels import hardest_weights, pixel_weights


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


def test_label_smoothing_is_pytorchs():
    logits, mask = random_case(2)
    expected = functional.cross_entropy(logits, mask, ignore_index=VOID, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(pixel_losses(logits, mask, label_smoothing=0.1), expected)


def test_focal_is_the_papers_formula():
    logits, mask = random_case(3, void=0)
    p = logits.double().softmax(dim=1).gather(1, mask[:, None])[:, 0]
    expected = -((1 - p) ** 2) * p.log()
    torch.testing.assert_close(pixel_losses(logits, mask, gamma=2.0).double(), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    classes=st.integers(1, 30),
    coarse=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1]),
    gamma=st.sampled_from([0.0, 1.0, 2.0, 3.5]),
)
def test_the_banded_loss_equals_resizing_first(seed, classes, coarse, size, weighted, smoothing, gamma):
    logits, _ = random_case(seed, classes=classes, size=coarse)
    _, mask = random_case(seed, classes=classes, size=size)
    options = {"label_smoothing": smoothing, "gamma": gamma}
    weights = pixel_weights(
        mask, ignore_index=VOID, class_weights=torch.linspace(0.5, 2, classes) if weighted else None
    )
    logits.requires_grad_()
    plain = (pixel_losses(resize(logits, size), mask, **options) * weights).sum() / mask.numel()
    (expected,) = torch.autograd.grad(plain, logits)
    banded = resized_pixel_sum(logits, mask, weights, **options) / mask.numel()
    (gradient,) = torch.autograd.grad(banded, logits)
    torch.testing.assert_close(banded, plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    losses = resized_pixel_losses(logits, mask, **options)
    plain_losses = pixel_losses(resize(logits.detach(), size), mask, **options)
    torch.testing.assert_close(losses, plain_losses, rtol=1e-5, atol=3e-5)


def test_the_banded_loss_crosses_bands(monkeypatch):
    monkeypatch.setattr("atrous.losses.banded.BAND_ELEMENTS", 3 * 40 * 7)
    logits, _ = random_case(3, classes=3, size=(11, 10))
    _, mask = random_case(3, classes=3, size=(44, 40))
    plain = cross_entropy(resize(logits, (44, 40)), mask)
    torch.testing.assert_close(resized_cross_entropy(logits, mask), plain)


@pytest.mark.parametrize(("smoothing", "gamma"), [(0.0, 0.0), (0.1, 0.0), (0.0, 2.0), (0.1, 1.5)])
def test_the_banded_gradient_is_the_slope(smoothing, gamma):
    """Against finite differences, which know no formula."""
    logits, _ = random_case(5, batch=1, classes=3, size=(3, 4))
    _, mask = random_case(5, batch=1, classes=3, size=(9, 11))
    weights = (mask != VOID).float()
    options = {"label_smoothing": smoothing, "gamma": gamma}
    logits.requires_grad_()
    resized_pixel_sum(logits, mask, weights, **options).backward()
    step = 1e-2
    for k, y, x in [(0, 0, 0), (1, 2, 3), (2, 1, 1)]:
        values = []
        for sign in (1, -1):
            moved = logits.detach().clone()
            moved[0, k, y, x] += sign * step
            values.append(float(resized_pixel_sum(moved, mask, weights, **options)))
        assert float(logits.grad[0, k, y, x]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=2e-2, abs=2e-3)


def test_the_hardest_pixels_are_kept_image_by_image():
    losses = torch.tensor([[[1.0, 5.0, 2.0, 9.0]], [[0.1, 0.2, 0.3, 0.4]]])
    weights = torch.tensor([[[1.0, 1.0, 1.0, 0.0]], [[1.0, 1.0, 4.0, 1.0]]])
    kept = hardest_weights(losses, weights, share=0.5)
    assert kept.tolist() == [[[0, 1, 1, 0]], [[0, 0, 4, 1]]]  # 2 of 3 valid ones; the weights count


@given(seed=st.integers(0, 200), share=st.floats(0.05, 1))
@settings(max_examples=30, deadline=None)
def test_as_many_pixels_are_kept_as_asked(seed, share):
    _, mask = random_case(seed)
    losses = torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed))
    weights = (mask != VOID).float()
    kept = hardest_weights(losses, weights, share=share)
    for image, valid in zip(kept, weights, strict=True):
        assert int(image.sum()) == math.ceil(share * int(valid.sum()))
    assert (kept <= weights).all()

"""Sums of losses, and that parts of a batch add up to the whole batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import VOID, random_case

from atrous.losses import cross_entropy, lovasz_loss, make_loss, parse_sum
from atrous.losses.banded import resize

EVERY_TERM = "0.7*cross_entropy + focal + 2 ohem + 0.5 * dice+lovasz"


def test_sums_are_read():
    assert parse_sum("cross_entropy") == [(1.0, "cross_entropy")]
    assert parse_sum(EVERY_TERM) == [
        (0.7, "cross_entropy"),
        (1.0, "focal"),
        (2.0, "ohem"),
        (0.5, "dice"),
        (1.0, "lovasz"),
    ]


@pytest.mark.parametrize("text", ["", "dyce", "cross_entropy-dice", "2", "cross_entropy+", "0.5*", "-1*dice", "dice*2"])
def test_what_is_no_sum_lists_the_terms(text):
    with pytest.raises(ValueError, match="expected cross_entropy, focal, ohem, dice, lovasz"):
        parse_sum(text)


def test_a_sum_is_the_sum_of_its_terms():
    coarse, _ = random_case(0, size=(5, 7))
    _, mask = random_case(0, size=(20, 28))
    one, other = make_loss("cross_entropy")(coarse, mask), make_loss("lovasz")(coarse, mask)
    torch.testing.assert_close(make_loss("0.25*cross_entropy+2*lovasz")(coarse, mask), 0.25 * one + 2 * other)


def test_cross_entropy_is_the_plain_one():
    coarse, _ = random_case(1, size=(5, 7))
    _, mask = random_case(1, size=(20, 28))
    weights = torch.linspace(0.5, 2, 5)
    expected = cross_entropy(resize(coarse, (20, 28)), mask, class_weights=weights)
    torch.testing.assert_close(make_loss("cross_entropy", class_weights=weights)(coarse, mask), expected)


def test_the_whole_share_of_the_hardest_is_the_plain_mean():
    coarse, _ = random_case(2, size=(5, 7))
    _, mask = random_case(2, size=(20, 28))
    weights = torch.linspace(0.5, 2, 5)
    torch.testing.assert_close(
        make_loss("ohem", class_weights=weights, ohem_share=1.0)(coarse, mask),
        make_loss("cross_entropy", class_weights=weights)(coarse, mask),
    )


def test_the_hardest_share_is_the_mean_of_the_largest_losses():
    coarse, _ = random_case(3, batch=1, size=(5, 7))
    _, mask = random_case(3, batch=1, size=(20, 28), void=0.3)
    resized = resize(coarse, (20, 28))
    losses = torch.nn.functional.cross_entropy(resized, mask, ignore_index=VOID, reduction="none")
    valid = losses[mask != VOID].sort(descending=True).values
    count = -(-len(valid) // 4)
    torch.testing.assert_close(make_loss("ohem", ohem_share=0.25)(coarse, mask), valid[:count].mean())


@pytest.mark.parametrize("every", [1, 3])
def test_overlap_losses_are_means_over_images_of_what_they_look_at(every):
    coarse, _ = random_case(4, size=(5, 7))
    _, mask = random_case(4, size=(20, 28))
    seen = (slice(every // 2, None, every), slice(every // 2, None, every))
    parts = []
    for image, truth in zip(resize(coarse, (20, 28)), mask, strict=True):
        valid = truth[seen] != VOID
        parts.append(lovasz_loss(image[:, *seen][:, valid], truth[seen][valid]))
    torch.testing.assert_close(make_loss("lovasz", overlap_every=every)(coarse, mask), torch.stack(parts).mean())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(1, 4), all_void=st.booleans())
def test_parts_add_up_to_the_batch(seed, cut, all_void):
    """The mean over all valid pixels, not the mean of means: in value and gradient, however the batch is cut."""
    coarse, _ = random_case(seed, batch=5, size=(4, 6))
    _, mask = random_case(seed, batch=5, size=(13, 19))
    mask[0, :6] = VOID  # images differ in their number of valid pixels
    if all_void:
        mask[1] = VOID
    loss = make_loss(EVERY_TERM, class_weights=torch.linspace(0.5, 2, 5), label_smoothing=0.1)
    whole = coarse.clone().requires_grad_()
    loss(whole, mask).backward()
    parted = coarse.clone().requires_grad_()
    masks = mask.split(cut)
    weights = loss.weights(masks)
    value = torch.zeros(())
    for part, truth in zip(parted.split(cut), masks, strict=True):
        share = loss.share(part, truth, weights)
        share.backward()
        value += share.detach()
    torch.testing.assert_close(value, loss(coarse, mask), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(parted.grad, whole.grad, rtol=1e-4, atol=1e-6)


def test_only_void_gives_zero_and_zero_gradients():
    coarse = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = make_loss(EVERY_TERM)(coarse, torch.full((2, 9, 9), VOID))
    assert value.item() == 0
    value.backward()
    assert (coarse.grad == 0).all()


def test_void_pixels_do_not_matter_to_any_term():
    coarse, _ = random_case(6, size=(20, 28))
    _, mask = random_case(6, size=(20, 28))
    changed = coarse.clone()
    changed[(mask == VOID)[:, None].expand_as(coarse)] += 50
    loss = make_loss(EVERY_TERM)
    torch.testing.assert_close(loss(coarse, mask), loss(changed, mask), rtol=1e-6, atol=0)

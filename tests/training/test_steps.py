"""One training step, and that a loss that is not finite stops the run."""

import copy

import pytest
import torch
from torch.nn import functional

from atrous.data.loader import Batch
from atrous.errors import DivergedError, TrainingError
from atrous.losses import make_loss
from atrous.models.deeplab import DeepLab, build
from atrous.optim import make_optimizer
from atrous.training.cut import cut_for
from atrous.training.steps import Stepper, choose_precision

CPU = torch.device("cpu")


def make(network, *, loss="cross_entropy", **settings):
    optimizer = make_optimizer(network, name="sgd", rate=0.1, momentum=0.0)
    settings = {"cut": cut_for(network, "none", auxiliary=True), **settings}
    return Stepper(network, optimizer, loss=make_loss(loss), precision=choose_precision(CPU), device=CPU, **settings)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = build("deeplabv3plus_mobilenet_v2", num_classes=3, aspp_channels=8, auxiliary=True)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return network


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 3, (2, 48, 48), generator=generator)
    mask[:, :5] = 255
    return Batch({"image": torch.randn(2, 3, 48, 48, generator=generator)}, mask, ("a", "b"))


def test_the_loss_is_that_of_full_size_logits_with_the_auxiliary_share(network, batch):
    network.train()
    plain = copy.deepcopy(network)
    logits, auxiliary = plain.forward_with_auxiliary(batch.image)
    expected = sum(
        share * functional.cross_entropy(scores, batch.mask, ignore_index=255)
        for scores, share in ((logits, 1.0), (auxiliary, 0.5))
    )
    expected.backward()
    value = make(network, auxiliary_weight=0.5).step(batch, number=0).loss
    assert value == pytest.approx(expected.item(), rel=1e-5)
    before = dict(plain.named_parameters())
    for name, parameter in network.named_parameters():
        moved = before[name].detach() - 0.1 * before[name].grad
        torch.testing.assert_close(parameter.detach(), moved, rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_with_step_and_images(network, batch):
    network.train()
    before = copy.deepcopy(dict(network.named_parameters()))
    bad = Batch({"image": torch.full_like(batch.image, float("nan"))}, batch.mask, ("one.jpg", "two.jpg"))
    with pytest.raises(DivergedError, match=r"step 7 .*one\.jpg, two\.jpg"):
        make(network).step(bad, number=7)
    assert all(torch.equal(before[name], parameter) for name, parameter in network.named_parameters())


def test_a_batch_of_void_changes_nothing(network, batch):
    network.train()
    before = copy.deepcopy(dict(network.named_parameters()))
    void = Batch(batch.inputs, torch.full_like(batch.mask, 255), batch.names)
    assert make(network).step(void, number=0).loss == 0
    assert all(torch.equal(before[name], parameter) for name, parameter in network.named_parameters())


def test_training_lowers_the_loss(network, batch):
    network.train()
    stepper = make(network)
    losses = [stepper.step(batch, number=number).loss for number in range(8)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("loss", ["cross_entropy", "focal+0.5*lovasz", "ohem"])
@pytest.mark.parametrize("parts", [2, 3, 5, 9])
def test_parts_move_the_weights_as_the_whole_batch_does(network, loss, parts):
    """Batch norm aside, whose statistics are those of each part."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.randint(0, 3, (5, 48, 48), generator=generator)
    mask[0, :40] = 255
    mask[3, :, :17] = 255
    batch = Batch({"image": torch.randn(5, 3, 48, 48, generator=generator)}, mask, tuple("abcde"))
    network.eval()
    other = copy.deepcopy(network)
    whole = make(network, loss=loss, auxiliary_weight=0.5).step(batch, number=0)
    parted = make(other, loss=loss, auxiliary_weight=0.5, parts=parts).step(batch, number=0)
    assert parted.loss == pytest.approx(whole.loss, rel=1e-5)
    assert parted.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-4)
    for (name, one), (_, two) in zip(network.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-6, msg=name)


def test_a_clipped_gradient_has_the_norm_that_is_allowed(network, batch):
    network.train()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    stats = make(network, clip=0.01).step(batch, number=0)
    assert stats.gradient_norm > 0.01
    moves = [(parameter.detach() - before[name]) / 0.1 for name, parameter in network.named_parameters()]
    assert float(torch.cat([move.flatten() for move in moves]).norm()) == pytest.approx(0.01, rel=1e-2)


def test_a_gradient_that_is_not_finite_stops_too(network, batch):
    network.train()
    network.classifier.logits.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = copy.deepcopy(dict(network.named_parameters()))
    with pytest.raises(DivergedError, match=r"gradient's norm became (inf|nan) at step 3"):
        make(network).step(batch, number=3)
    assert all(torch.equal(before[name], parameter) for name, parameter in network.named_parameters())


def short_of_memory(monkeypatch, most):
    """Make the network fail, as PyTorch does on a CPU, for more than `most` images at once."""
    plain = DeepLab.features

    def features(self, image):
        if len(image) > most:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"
            )
        return plain(self, image)

    monkeypatch.setattr(DeepLab, "features", features)


def test_where_memory_runs_out_the_batch_is_parted_and_told(network, monkeypatch):
    generator = torch.Generator().manual_seed(2)
    mask = torch.randint(0, 3, (5, 48, 48), generator=generator)
    batch = Batch({"image": torch.randn(5, 3, 48, 48, generator=generator)}, mask, tuple("abcde"))
    network.eval()
    other, said = copy.deepcopy(network), []
    whole = make(network).step(batch, number=0)
    short_of_memory(monkeypatch, 2)
    stepper = make(other, say=said.append)
    assert stepper.step(batch, number=0).loss == pytest.approx(whole.loss, rel=1e-5)
    assert stepper.parts == 4
    assert len(said) == 2
    assert "a step's 5 images are computed in 4 parts" in said[1]
    for (name, one), (_, two) in zip(network.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-6, msg=name)
    stepper.step(batch, number=1)
    assert len(said) == 2


def test_without_memory_for_one_image_the_message_says_what_to_do(network, batch, monkeypatch):
    short_of_memory(monkeypatch, 0)
    with pytest.raises(TrainingError, match=r"one image at a time .*smaller crops \(--crop\)"):
        make(network).step(batch, number=0)


def test_other_errors_pass(network, batch, monkeypatch):
    monkeypatch.setattr(DeepLab, "features", lambda self, image: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        make(network).step(batch, number=0)

"""The compiled layer is the convolution within 1e-4 of its output's deviation, whatever the shape."""

import copy
import threading

import pytest
import torch
from convolutions import KINDS, error, exact, random_convolution, random_image
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from atrous.polyphase import choice, layer, threads
from atrous.polyphase.layer import PolyphaseConv2d, is_eligible

pytest.importorskip("numba", reason="the compiled layers need Numba (the extra `fast`)")

TOLERANCE = 1e-4


def filtered(conv, image, vertical, horizontal=None, **options):
    with torch.inference_mode():
        return PolyphaseConv2d(conv, vertical, horizontal or vertical, **options)(image)


def check(conv, image):
    """All ways that may be chosen for this map."""
    pairs = choice.candidates(conv, *image.shape[-2:])
    reference = exact(conv, image)
    for vertical, horizontal in pairs:
        result = filtered(conv, image, vertical, horizontal)
        assert result.shape == reference.shape
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert error(result, reference) < TOLERANCE, (vertical, horizontal)
    return pairs


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    rate=st.integers(1, 5),
    channels=st.integers(16, 50),
    out_channels=st.integers(16, 50),
    kind=st.sampled_from(KINDS),
    bias=st.booleans(),
)
def test_small_rates(height, width, rate, channels, out_channels, kind, bias):
    conv = random_convolution(channels, out_channels, rate, bias=bias)
    check(conv, random_image(channels, height, width, kind=kind))


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 80),
    rate=st.integers(1, 36),
    channels=st.integers(16, 50),
    kind=st.sampled_from(KINDS),
)
def test_all_rates(size, rate, channels, kind):
    conv = random_convolution(channels, 16, rate)
    check(conv, random_image(channels, size, size, kind=kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rate", "pairs"), [(1, 2), (12, 2), (24, 1), (36, 1)])
def test_many_channels(rate, pairs, kind):
    conv = random_convolution(512, 17, rate)
    assert len(check(conv, random_image(512, 65, 65, kind=kind))) == pairs


@pytest.mark.parametrize(("height", "width", "rate"), [(9, 30, 9), (30, 9, 5), (20, 70, 12), (3, 3, 36)])
def test_other_schemes_along_each_axis(height, width, rate):
    conv = random_convolution(32, 48, rate)
    check(conv, random_image(32, height, width))


def test_relu_and_odd_channels():
    conv = random_convolution(3, 21, 2)
    image = random_image(3, 20, 31, batch=2)
    result = filtered(conv, image, "F4", relu=True)
    assert error(result, exact(conv, image).relu()) < TOLERANCE
    assert float(result.min()) == 0


def test_an_images_result_does_not_depend_on_its_batch():
    conv = random_convolution(16, 16, 2)
    batch = random_image(16, 33, 21, batch=3)
    together = filtered(conv, batch, "F4")
    for index in range(3):
        assert torch.equal(together[index], filtered(conv, batch[index : index + 1], "F4")[0])


@pytest.mark.parametrize("pool", ["torch", "python"])
def test_the_number_of_threads_does_not_change_the_result(monkeypatch, pool):
    conv = random_convolution(64, 80, 3)
    image = random_image(64, 40, 33)
    alone = filtered(conv, image, "F4")
    if pool == "python":
        monkeypatch.setattr(threads, "_torch_pool", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for _ in range(3):
        assert torch.equal(filtered(conv, image, "F4"), alone)


def test_two_callers_at_once_do_not_mix():
    module = PolyphaseConv2d(random_convolution(32, 32, 2), "F4", "F4")
    images = [random_image(32, 40, 40, seed=seed) for seed in range(2)]
    expected = [module(image) for image in images]
    wrong = []

    def work(index):
        wrong.extend(1 for _ in range(20) if not torch.equal(module(images[index]), expected[index]))

    workers = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_chunks_of_tiles_give_the_same(monkeypatch):
    from atrous.polyphase import program

    conv = random_convolution(32, 32, 2)
    image = random_image(32, 65, 70)
    whole = filtered(conv, image, "F4")
    monkeypatch.setattr(program, "LEAST_WORKSPACE", 1)
    monkeypatch.setattr(program, "MOST_WORKSPACE", 1)
    assert torch.equal(filtered(conv, image, "F4"), whole)


def test_not_a_number_stays_so_and_does_not_spread_far():
    conv = random_convolution(16, 16, 1)
    image = random_image(16, 30, 30)
    image[0, 3, 4, 5] = torch.nan
    result = filtered(conv, image, "F4", relu=True)
    assert result[0, :, 3:6, 4:7].isnan().all()
    assert not result[0, :, 12:, 12:].isnan().any()


def test_other_layouts_sizes_and_empty_batches_work():
    conv = random_convolution(16, 24, 2)
    module = PolyphaseConv2d(conv, "F4", "F4")
    for size in range(1, layer.PROGRAMS + 3):
        image = random_image(16, size, 7).contiguous()
        assert error(module(image), exact(conv, image)) < TOLERANCE
    assert module(torch.zeros(0, 16, 5, 5)).shape == (0, 24, 5, 5)
    assert torch.equal(copy.deepcopy(module)(image), module(image))


def test_another_default_type_does_not_matter():
    conv = random_convolution(16, 24, 2)
    image = random_image(16, 9, 9)
    torch.set_default_dtype(torch.float64)
    try:
        result = filtered(conv, image, "F4")
    finally:
        torch.set_default_dtype(torch.float32)
    assert result.dtype == torch.float32
    assert error(result, exact(conv, image)) < TOLERANCE


def test_the_layer_tells_its_memory_and_what_it_is():
    module = PolyphaseConv2d(random_convolution(64, 64, 4), "F6", "F4", relu=True)
    assert module.weight_bytes == 8 * 6 * 64 * 64 * 4
    assert "rate=4, F6xF4, relu=True" in repr(module)
    assert not module.state_dict()


def test_wrong_uses_are_refused():
    module = PolyphaseConv2d(random_convolution(16, 16, 1), "F4", "F4")
    for wrong in (torch.zeros(1, 8, 5, 5), torch.zeros(1, 16, 5, 5).double(), torch.zeros(16, 5, 5)):
        with pytest.raises(ValueError, match=r"float32 tensor \(N, 16, H, W\) on the CPU"):
            module(wrong)
    with pytest.raises(RuntimeError, match="no gradient"):
        module(torch.zeros(1, 16, 5, 5, requires_grad=True))
    with pytest.raises(ValueError, match="stride 1"):
        PolyphaseConv2d(nn.Conv2d(16, 16, 3, stride=2, padding=1), "F4", "F4")


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(16, 16, 1),
        nn.Conv2d(16, 16, 3),
        nn.Conv2d(16, 16, 3, padding=1, stride=2),
        nn.Conv2d(16, 16, 3, padding=1, groups=2),
        nn.Conv2d(16, 16, 3, padding=(1, 2), dilation=(1, 2)),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(16, 16, 3, padding="same"),
        nn.Conv2d(16, 16, 3, padding=1, dtype=torch.float64),
        nn.ReLU(),
    ],
    ids=repr,
)
def test_other_modules_are_not_eligible(module):
    assert not is_eligible(module)


def test_kernels_work_without_a_folder_to_keep_them_in(monkeypatch):
    from atrous.polyphase import kernels

    compile_ = kernels.cfunc

    def without_folder(signature, *, cache=False):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_(signature)

    monkeypatch.setattr(kernels, "cfunc", without_folder)
    assert kernels.sequence_kernel.__wrapped__().address

"""The filtered convolution in tensor operations equals the plain one, in float64 as good as exactly."""

import pytest
import torch
from convolutions import exact, random_convolution, random_image
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from atrous.polyphase.plain import PlainConv2d, filtered_conv2d, shifted_products
from atrous.polyphase.transforms import SCHEMES


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    rate=st.integers(1, 36),
    vertical=st.sampled_from(list(SCHEMES)),
    horizontal=st.sampled_from(list(SCHEMES)),
    bias=st.booleans(),
)
def test_filtering_is_the_convolution(height, width, rate, vertical, horizontal, bias):
    if not (SCHEMES[vertical].fits(-(-height // rate)) and SCHEMES[horizontal].fits(-(-width // rate))):
        return
    conv = random_convolution(3, 5, rate, bias=bias).double()
    image = random_image(3, height, width, batch=2).double()
    with torch.no_grad():
        result = filtered_conv2d(image, conv.weight, conv.bias, rate, vertical, horizontal)
    torch.testing.assert_close(result, exact(conv, image), rtol=0, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 30), width=st.integers(1, 30), rate=st.integers(1, 36), bias=st.booleans())
def test_shifted_products_are_the_convolution(height, width, rate, bias):
    conv = random_convolution(3, 5, rate, bias=bias).double()
    image = random_image(3, height, width, batch=2).double()
    with torch.no_grad():
        result = shifted_products(image, conv.weight, conv.bias, rate)
    torch.testing.assert_close(result, exact(conv, image), rtol=0, atol=1e-12)
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shifted", [False, True])
def test_the_plain_module_has_relu(shifted):
    conv = random_convolution(4, 6, 2)
    image = random_image(4, 9, 7)
    with torch.inference_mode():
        result = PlainConv2d(conv, relu=True, shifted=shifted)(image)
        torch.testing.assert_close(result, nn.functional.relu(conv(image)), rtol=0, atol=1e-5)

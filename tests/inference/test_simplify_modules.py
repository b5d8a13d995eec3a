"""What networks of other people may do between their layers: simplified, they still give their own logits."""

import pytest
import torch
from small_modules import count, of, overwriting, simplified
from torch import nn
from torch.nn import functional

from atrous.inference import simplify
from atrous.inference.tracing import UntraceableError
from random_weights import randomise


def twice_with_two_norms(net, x):
    return net.other_norm(net.a(net.norm(net.a(x))))


def twice_with_one_norm(net, x):
    return net.norm(net.a(net.norm(net.a(x))))


def twice_with_and_without_relu(net, x):
    return net.a(net.relu(net.a(x)))


def twice_with_and_without_a_sum(net, x):
    return net.relu(net.a(x) + x) * net.a(x)


def shared_with_and_without_a_later_read(net, x):
    """`b` first adds a map that is read again, then one that is not."""
    first = net.a(x)
    second = net.b(first) + first
    return net.b(second) + net.a(first)


@pytest.mark.parametrize(
    "body",
    [
        twice_with_two_norms,
        twice_with_one_norm,
        twice_with_and_without_relu,
        twice_with_and_without_a_sum,
        shared_with_and_without_a_later_read,
    ],
)
def test_a_shared_layer_does_at_each_place_what_it_does_there(body):
    simplified(of(body))


def test_names_that_differ_by_a_dot_are_different_layers():
    inner = nn.Module()
    inner.conv = nn.Conv2d(4, 4, 3, padding=1)
    layers = {"inner": inner, "inner_conv": nn.Conv2d(4, 4, 1)}
    simplified(of(lambda net, x: net.norm(net.inner.conv(x)) + net.other_norm(net.inner_conv(x)), **layers))


def test_a_convolution_that_is_read_twice_keeps_its_own_map():
    def body(net, x):
        y = net.a(x)
        return net.relu(y) + y

    module = simplified(of(body))
    assert count(module, nn.ReLU) == 1


def test_a_convolution_added_to_itself():
    def body(net, x):
        y = net.a(x)
        return y + y

    simplified(of(body))


def test_a_sum_is_taken_in():
    module = simplified(of(lambda net, x: net.relu(net.norm(net.a(x)) + x)))
    assert count(module, nn.ReLU) == 0
    (call,) = [node for node in module.graph.nodes if len(node.args) == 2]
    assert module.get_submodule(call.target).activation == "relu"


def test_a_sum_takes_the_place_of_a_map_that_is_not_read_again():
    module = simplified(of(lambda net, x: net.b(net.a(x)) + x))
    assert overwriting(module) == [True]


def read_later_by_an_operation(net, x):
    return (net.b(net.a(x)) + x) * x


def read_later_by_a_convolution(net, x):
    return net.other(net.b(net.a(x)) + x) * net.other(x)


def read_by_another_sum(net, x):
    y = net.a(x)
    return net.other(net.b(y) + x) * (net.other(y) + x)


def seen_through_a_slice(net, x):
    part = x[:, :2]
    return (net.b(net.a(x)) + x) * torch.cat([part, part], dim=1)


def flattened(net, x):
    rows = x.flatten(2)
    return (net.b(net.a(x)) + x) * rows.view(x.shape)


def read_by_the_same_convolution(net, x):
    return net.a(x) + x


LATER = [
    read_later_by_an_operation,
    read_later_by_a_convolution,
    read_by_another_sum,
    seen_through_a_slice,
    flattened,
    read_by_the_same_convolution,
]


@pytest.mark.parametrize("body", LATER)
def test_a_map_that_is_read_again_is_never_overwritten(body):
    assert not overwriting(simplified(of(body, other=nn.Conv2d(4, 4, 1))))[0]


def test_the_image_is_never_overwritten():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))

        def forward(self, image):
            return self.b(self.a(image)) + image

    module = simplified(randomise(Net()))
    assert overwriting(module) == [False]


def sum_in_place(net, x):
    y = net.a(x)
    same = y
    y += net.b(x)
    return same * y


def sum_in_place_on_the_input(net, x):
    y = x
    y += net.b(x)
    return x * y


def activation_between(net, x):
    shortcut = net.a(x)  # of x as it is before the activation
    y = net.relu_in_place(x)
    return shortcut + torch.tanh(net.b(y))


def activation_before(net, x):
    y = net.relu_in_place(x)
    return net.a(x) + torch.tanh(net.b(y))


def function_between(net, x):
    shortcut = net.a(x)
    y = functional.relu(x, inplace=True)
    return shortcut + torch.tanh(net.b(y))


def other_function_between(net, x):
    shortcut = net.a(x)
    y = torch.relu_(x)
    return shortcut + torch.tanh(net.b(y))


def method_between(net, x):
    shortcut = net.a(x)
    y = x.mul_(0.5)
    return shortcut + torch.tanh(net.b(y))


def product_in_place_between(net, x):
    shortcut = net.a(x)
    x *= 0.5
    return shortcut + torch.tanh(net.b(x))


def layer_whose_result_is_not_used(net, x):
    net.relu_in_place(x)
    return net.a(x)


def method_whose_result_is_not_used(net, x):
    x.mul_(0.5)
    return net.a(x)


@pytest.mark.parametrize(
    "body",
    [
        layer_whose_result_is_not_used,
        method_whose_result_is_not_used,
        sum_in_place,
        sum_in_place_on_the_input,
        activation_between,
        activation_before,
        function_between,
        other_function_between,
        method_between,
        product_in_place_between,
    ],
)
def test_what_is_changed_in_place_is_read_as_it_is_at_that_moment(body):
    simplified(of(body))


def test_the_sums_in_place_of_residual_networks_are_taken_in():
    def identity(net, x):
        y = net.norm(net.a(x))
        y += x
        return net.relu_in_place(y)

    def projected(net, x):
        y = net.norm(net.a(x))
        y += net.other_norm(net.b(x))
        return net.relu_in_place(y)

    for body in (identity, projected):
        module = simplified(of(body))
        assert count(module, nn.ReLU) == 0
        assert len(overwriting(module)) == 1


def test_sums_that_are_not_of_two_maps_of_one_size():
    for body in (
        lambda net, x: net.a(x) + 1.5,
        lambda net, x: 1.5 + net.relu(net.a(x)),
        lambda net, x: torch.add(net.a(x), x, alpha=2),
        lambda net, x: torch.add(input=net.a(x), other=x),
        lambda net, x: net.a(x) + functional.adaptive_avg_pool2d(x, 1),
        lambda net, x: net.a(functional.adaptive_avg_pool2d(x, 1)) + x,
        lambda net, x: net.a(x) + x[:, :1],
        lambda net, x: sum([net.a(x), net.b(x), x]),
    ):
        simplified(of(body))


class TestConcatenations:
    """ASPP's pooling becomes a bias where it is what it seems to be."""

    def test_a_spread_map_becomes_a_bias(self):
        layers = {"project": nn.Conv2d(8, 4, 1, bias=False), "pool": nn.Conv2d(4, 4, 1)}

        def body(net, x):
            pooled = net.relu(net.pool(functional.adaptive_avg_pool2d(x, 1)))
            joined = torch.cat([net.a(x), pooled.expand(-1, -1, x.shape[-2], x.shape[-1])], dim=1)
            return net.relu(net.norm(net.project(joined)))

        assert "expand" not in [node.target for node in simplified(of(body, **layers)).graph.nodes]

    @pytest.mark.parametrize("dim", [0, 2, 3, -1])
    def test_along_another_axis_nothing_is_split(self, dim):
        def body(net, x):
            pooled = net.pool(functional.adaptive_avg_pool2d(x, 1))
            return net.project(torch.cat([x, pooled.expand(-1, -1, x.shape[-2], x.shape[-1])], dim=dim))

        simplified(of(body, project=nn.Conv2d(4, 4, 1), pool=nn.Conv2d(4, 4, 1)))

    def test_a_map_that_is_spread_over_channels(self):
        def body(net, x):
            return net.project(torch.cat([x, net.one(x).expand(-1, 4, -1, -1)], dim=1))

        simplified(of(body, project=nn.Conv2d(8, 4, 1), one=nn.Conv2d(4, 1, 1)))

    @pytest.mark.parametrize("options", [{"stride": 2}, {"padding": 1}, {"groups": 4}])
    def test_projections_of_other_kinds(self, options):
        def body(net, x):
            pooled = net.pool(functional.adaptive_avg_pool2d(x, 1))
            return net.project(torch.cat([net.a(x), net.b(x), pooled.expand(-1, -1, x.shape[-2], x.shape[-1])], dim=1))

        simplified(of(body, project=nn.Conv2d(12, 4, 1, **options), pool=nn.Conv2d(4, 4, 1)))

    def test_parts_that_are_read_by_others_too(self):
        def body(net, x):
            first, second = net.a(x), net.relu(net.b(x))
            return net.project(torch.cat([first, second], dim=1)) * first + net.project(torch.cat([second, first], 1))

        simplified(of(body, project=nn.Conv2d(8, 4, 1)))

    def test_the_same_part_twice(self):
        def body(net, x):
            part = net.a(x)
            return net.project(torch.cat([part, net.b(x), part], dim=1))

        simplified(of(body, project=nn.Conv2d(12, 4, 1)))


def decides_by_values(net, x):
    return net.a(x) if x.mean() > 0 else net.b(x)


def fits_one_size(net, x):
    return x + net.place


def test_what_cannot_be_followed_is_told(capfd):
    with pytest.raises(UntraceableError, match="Small: TraceError"):
        simplify(of(decides_by_values))
    network = of(fits_one_size)
    network.place = nn.Parameter(torch.zeros(4, 37, 29))
    with pytest.raises(UntraceableError, match="size of tensor"):
        simplify(network)
    with pytest.raises(UntraceableError, match="no convolution"):
        simplify(nn.Sequential(nn.AvgPool2d(2)))
    assert capfd.readouterr() == ("", "")


def test_a_network_that_cannot_be_followed_keeps_its_modes():
    network = of(decides_by_values).train()
    network.norm.eval()
    before = [layer.training for layer in network.modules()]
    with pytest.raises(UntraceableError):
        simplify(network)
    assert [layer.training for layer in network.modules()] == before


def doubled(layer, inputs, output):
    return output * 2


def test_layers_with_hooks_keep_what_hooks_do():
    network = of(lambda net, x: net.norm(net.a(x)) + net.b(x))
    network.a.register_forward_hook(doubled)
    network.b.register_forward_pre_hook(lambda layer, inputs: (inputs[0] + 1,))
    simplified(network)


def test_weights_that_are_computed_from_others():
    network = of(lambda net, x: net.norm(net.own(x)), own=nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)))
    simplified(network)

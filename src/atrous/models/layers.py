"""The layers that every network here is made of.

Shape letters: N batch, C channels, H height, W width.
"""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchNorm2d", "conv_norm_act", "initialise", "separable_conv_norm_act"]


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that also trains when a channel has a single value.

    Image pooling makes a 1x1 map, so a batch of one image has one value per channel and no variance. PyTorch raises
    there; this layer uses the running statistics for such a batch and leaves them unchanged.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `input` (N, C, H, W)."""
        if self.training and input.shape[0] * input.shape[2] * input.shape[3] == 1:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(input)


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> nn.Sequential:
    """Convolution without bias, batch norm, activation; padded so that stride 1 keeps the size.

    `momentum` and `eps` are batch norm's (PyTorch's momentum, which is 1 - TensorFlow's decay). `activation` None
    leaves it out.
    """
    padding = (kernel - 1) // 2 * dilation
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False),
        BatchNorm2d(out_channels, eps=eps, momentum=momentum),
    ]
    if activation is not None:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)


def separable_conv_norm_act(
    in_channels: int,
    out_channels: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
    eps: float = 1e-5,
) -> nn.Sequential:
    """Depthwise convolution, norm, ReLU, then a 1x1 convolution, norm, ReLU (v3+ paper, section 3.1 and its code).

    `activation` None leaves out both.
    """
    depthwise = conv_norm_act(
        in_channels,
        in_channels,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=in_channels,
        activation=activation,
        eps=eps,
    )
    pointwise = conv_norm_act(in_channels, out_channels, activation=activation, eps=eps)
    return nn.Sequential(*depthwise, *pointwise)


def initialise(module: nn.Module) -> None:
    """Fill convolutions with He's normal values (fan out) and norms with 1 and 0, in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)

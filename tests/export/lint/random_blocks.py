"""Blocks of random networks as public reports have them: odd geometry, modules used twice, heads, what FINN has not.

Each takes the zoo's layers, its path and the source of random numbers, and keeps the number of channels; a block whose
geometry is drawn says in words what was drawn.
"""

import random
from collections.abc import Callable

import brevitas.nn as qnn
import torch
from torch import Tensor, nn
from torch.nn import functional

from qtrain.models.factory import Layers

CHANNELS = 8
Block = tuple[str, nn.Module]
Make = Callable[[Layers, str, random.Random], Block]


class Function(nn.Module):
    """A function of the image as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """What the function makes of it."""
        return self.function(x)


class Twice(nn.Module):
    """Convolutions with one activation, or one convolution, used twice."""

    def __init__(self, layers: Layers, path: str, shared: str):
        super().__init__()
        self.shared = shared
        self.conv1, self.conv2 = (layers.conv(f"{path}.{n}", CHANNELS, CHANNELS, 3, padding=1) for n in "ab")
        self.norm1, self.norm2 = nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS)
        self.act1, self.act2 = layers.relu(f"{path}.act1"), layers.relu(f"{path}.act2")

    def forward(self, x: Tensor) -> Tensor:
        """Two convolutions with their norms and activations."""
        x = self.act1(self.norm1(self.conv1(x)))
        conv = self.conv1 if self.shared == "convolution" else self.conv2
        act = self.act1 if self.shared == "activation" else self.act2
        return act(self.norm2(conv(x)))


class Joined(nn.Module):
    """Two branches behind one quantizer, added or side by side.

    Args:
        left, right: the branches.
        join: quantizer of both.
        last: activation behind.
        concatenated: side by side instead of added.
    """

    def __init__(self, left: nn.Module, right: nn.Module, join: nn.Module, last: nn.Module, concatenated: bool = False):
        super().__init__()
        self.left, self.right, self.join, self.last, self.concatenated = left, right, join, last, concatenated

    def forward(self, x: Tensor) -> Tensor:
        """One image of both."""
        left, right = self.join(self.left(x)), self.join(self.right(x))
        return self.last(torch.cat([left, right], 1) if self.concatenated else left + right)


class Constant(nn.Module):
    """A constant added to the image, or multiplied with it; one value for all, a channel, a pixel or each of both."""

    def __init__(self, shape: tuple[int, ...], product: bool):
        super().__init__()
        self.product = product
        self.register_buffer("values", 0.2 + torch.rand(shape))

    def forward(self, x: Tensor) -> Tensor:
        """The image with it."""
        return x * self.values if self.product else x + self.values


class Sequence(nn.Module):
    """A convolution over the image read as one sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = qnn.QuantConv1d(CHANNELS, CHANNELS, 3, padding=1, bias=False, weight_bit_width=4)

    def forward(self, x: Tensor) -> Tensor:
        """An image again."""
        return self.conv(x.flatten(2)).reshape(x.shape)


def _normed(layers: Layers, path: str, *before: nn.Module) -> nn.Module:
    return nn.Sequential(*before, nn.BatchNorm2d(CHANNELS), layers.relu(f"{path}.act"))


def _pair(draw: random.Random, *values: int) -> tuple[int, int]:
    """One value for both axes, now and then one each."""
    one = draw.choice(values)
    return (one, draw.choice(values) if draw.random() < 0.3 else one)


def odd_pool(layers: Layers, path: str, draw: random.Random) -> Block:
    """A max-pool of any geometry."""
    kernel = _pair(draw, 1, 2, 2, 3, 3)
    stride, dilation = _pair(draw, 1, 2, 2, 3), _pair(draw, 1, 1, 1, 1, 2)
    padding = tuple(draw.choice((0, k // 2)) for k in kernel)
    ceil = draw.random() < 0.3
    words = f"max-pool {kernel} stride {stride} padding {padding} dilation {dilation}{' ceil' * ceil}"
    return words, nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)


def odd_conv(layers: Layers, path: str, draw: random.Random) -> Block:
    """A convolution of any geometry."""
    kernel = _pair(draw, 1, 2, 3, 3, 5)
    stride, dilation = _pair(draw, 1, 1, 1, 2, 3), _pair(draw, 1, 1, 1, 2)
    padding = tuple(draw.choice((0, k // 2, 1)) for k in kernel)
    groups = draw.choice((1, 1, 1, CHANNELS, CHANNELS, 2))
    bias = draw.random() < 0.3
    conv = qnn.QuantConv2d(
        CHANNELS,
        CHANNELS,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias,
        weight_bit_width=4,
    )
    words = (
        f"convolution {kernel} stride {stride} padding {padding} dilation {dilation} groups {groups}{' bias' * bias}"
    )
    return words, _normed(layers, path, conv)


def average(layers: Layers, path: str, draw: random.Random) -> Block:
    """An average pool over windows, of any kind."""
    options = {"stride": draw.choice((1, 2)), "padding": draw.choice((0, 1)), "ceil_mode": draw.random() < 0.3}
    options["count_include_pad"] = draw.random() < 0.5
    kinds = [
        (f"average pool {options}", nn.AvgPool2d(3, **options)),
        ("adaptive average pool to 2", nn.AdaptiveAvgPool2d(2)),
        ("mean of powers", nn.LPPool2d(2, 2)),
        ("average in float between quantizers", nn.Sequential(nn.AvgPool2d(2), layers.signed(f"{path}.act"))),
    ]
    return draw.choice(kinds)


def twice(layers: Layers, path: str, draw: random.Random) -> Block:
    """Modules used more than once."""
    shared = draw.choice(("activation", "convolution"))
    return f"shared {shared}", Twice(layers, path, shared)


def branches(layers: Layers, path: str, draw: random.Random) -> Block:
    """Branches of other kernels, added."""
    left = qnn.QuantConv2d(CHANNELS, CHANNELS, (1, 3), padding=(0, 1), bias=False, weight_bit_width=4)
    right = qnn.QuantConv2d(CHANNELS, CHANNELS, (3, 1), padding=(1, 0), bias=False, weight_bit_width=4)
    thin = qnn.QuantConv2d(CHANNELS, CHANNELS, 1, bias=False, weight_bit_width=4)
    kinds: dict[str, tuple[nn.Module, nn.Module]] = {
        "1x3 and 3x1": (left, right),
        "convolution and pool": (left, nn.Sequential(nn.MaxPool2d(3, 1, 1), thin)),
        "convolution and nothing": (right, nn.Identity()),
    }
    words = draw.choice(list(kinds))
    return f"sum of {words}", Joined(*kinds[words], layers.signed(f"{path}.join"), layers.relu(f"{path}.act"))


def squeezed(layers: Layers, path: str, draw: random.Random) -> Block:
    """A sum with one value a channel, broadcast over the pixels."""
    conv, thin = (qnn.QuantConv2d(CHANNELS, CHANNELS, 1, bias=False, weight_bit_width=4) for _ in "ab")
    small = nn.Sequential(nn.AdaptiveAvgPool2d(1), thin)
    return "sum broadcast", Joined(conv, small, layers.signed(f"{path}.join"), layers.relu(f"{path}.act"))


def concatenated(layers: Layers, path: str, draw: random.Random) -> Block:
    """Branches side by side."""
    half = [qnn.QuantConv2d(CHANNELS, CHANNELS // 2, 1, bias=False, weight_bit_width=4) for _ in "ab"]
    both = Joined(*half, layers.signed(f"{path}.join"), layers.relu(f"{path}.act"), concatenated=True)
    return "concatenation", both


def constant(layers: Layers, path: str, draw: random.Random) -> Block:
    """A convolution, and a constant in front of its activation."""
    product, channel = draw.random() < 0.5, draw.random() < 0.5
    shape = (CHANNELS, 1, 1) if channel else (1, 1, 1)
    conv = layers.conv(f"{path}.conv", CHANNELS, CHANNELS, 3, padding=1)
    words = f"{'times' if product else 'plus'} a constant {'a channel' if channel else 'for all'}"
    return words, nn.Sequential(conv, Constant(shape, product), layers.relu(f"{path}.act"))


def negative_norm(layers: Layers, path: str, draw: random.Random) -> Block:
    """A norm whose scales have both signs, and zeros."""
    norm = nn.BatchNorm2d(CHANNELS, eps=draw.choice((1e-5, 1e-2)))
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    conv = layers.conv(f"{path}.conv", CHANNELS, CHANNELS, 3, padding=1)
    return "negative norm", nn.Sequential(conv, norm, layers.relu(f"{path}.act"))


def activation(layers: Layers, path: str, draw: random.Random) -> Block:
    """A convolution with an activation that is less common."""
    tanh = qnn.QuantHardTanh(bit_width=4, min_val=draw.choice((-1.0, -0.5)), max_val=1.0)
    kinds: dict[str, nn.Module] = {
        "hard-tanh": tanh,
        "PReLU": nn.Sequential(nn.PReLU(), layers.signed(f"{path}.act")),
        "float hard-tanh": nn.Sequential(nn.Hardtanh(), layers.signed(f"{path}.act")),
        "two quantizers": nn.Sequential(layers.relu(f"{path}.act"), layers.signed(f"{path}.act2")),
    }
    words = draw.choice(list(kinds))
    conv = layers.conv(f"{path}.conv", CHANNELS, CHANNELS, 3, padding=1)
    return words, nn.Sequential(conv, nn.BatchNorm2d(CHANNELS), kinds[words])


def dropout(layers: Layers, path: str, draw: random.Random) -> Block:
    """A dropout of some form, in evaluation without effect, or always at work."""
    kinds: dict[str, nn.Module] = {
        "dropout of channels": nn.Dropout2d(0.2),
        "alpha dropout": nn.AlphaDropout(0.2),
        "dropout of features": nn.FeatureAlphaDropout(0.2),
        "dropout in place": nn.Dropout(0.2, inplace=True),
        "dropout at work": Function(lambda x: functional.dropout(x, 0.2)),
    }
    words = draw.choice(list(kinds))
    return words, kinds[words]


def elsewhere(layers: Layers, path: str, draw: random.Random) -> Block:
    """What FINN has no hardware for."""
    up = qnn.QuantConvTranspose2d(CHANNELS, CHANNELS, 2, stride=2, bias=False, weight_bit_width=4)
    kinds: dict[str, nn.Module] = {
        "transposed convolution": _normed(layers, path, up),
        "upsampling": nn.Upsample(scale_factor=2),
        "smooth upsampling": nn.Upsample(scale_factor=2, mode="bilinear"),
        "Conv1d": _normed(layers, path, Sequence()),
        "turned image": Function(lambda x: x.transpose(2, 3)),
        "flipped image": Function(lambda x: x.flip(3)),
        "cropped image": Function(lambda x: x[:, :, 1:, 1:] if x.shape[2] > 1 and x.shape[3] > 1 else -x),
        "clamped": Function(lambda x: x.clamp(0, 0.5)),
        "padded by hand": nn.ZeroPad2d((0, 1, 0, 1)),
    }
    words = draw.choice(list(kinds))
    return words, kinds[words]


BLOCKS: tuple[Make, ...] = (
    *(odd_pool, odd_conv) * 3,
    *(twice, branches, constant, negative_norm) * 2,
    average,
    squeezed,
    concatenated,
    activation,
    activation,
    dropout,
    elsewhere,
)

"""Layers and small networks for the probes of `tests/export/lint/probes.py`: what users write, right and wrong."""

from collections import OrderedDict
from collections.abc import Mapping

import brevitas.nn as qnn
import torch
from brevitas.core.quant import BinaryQuant
from brevitas.inject.enum import QuantType, RestrictValueType, ScalingImplType, StatsOp
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8ActPerTensorFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFixedPoint,
    Uint8ActPerTensorFloat,
)
from brevitas.quant.base import NarrowIntQuant
from torch import Tensor, nn

from qtrain.models import build_model
from qtrain.models.layers import ScalarNorm

Layers = Mapping[str, nn.Module | None]


# --- Parts -----------------------------------------------------------------------------------------------------------


class Affine(nn.Module):
    """``x * scale + offset``, scalars or one a channel."""

    def __init__(self, scale: float | list[float], offset: float | list[float]):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("offset", torch.tensor(offset))

    def forward(self, x: Tensor) -> Tensor:
        def shaped(t: Tensor) -> Tensor:
            return t if t.dim() == 0 else t.reshape(1, -1, 1, 1)

        return x * shaped(self.scale) + shaped(self.offset)


class Shuffle(nn.Module):
    """Interleave the two halves of the channels."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = map(int, x.shape)
        return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def to_signed() -> nn.Module:
    return Affine(2.0, -1.0)


def mean_std() -> nn.Module:
    return Affine([4.0, 5.0, 3.0], [-2.0, -2.2, -1.4])


class MeanBinaryWeight(NarrowIntQuant, SignedBinaryWeightPerTensorConst):
    """One bit, scaled by each channel's mean magnitude; does not clamp the float weights."""

    tensor_quant = BinaryQuant
    quant_type = QuantType.BINARY
    bit_width = 1
    scaling_impl_type = ScalingImplType.STATS
    scaling_stats_op = StatsOp.AVE
    scaling_per_output_channel = True
    restrict_scaling_type = RestrictValueType.FP


class ClampedMeanBinaryWeight(SignedBinaryWeightPerTensorConst):
    """The same from Brevitas' clamping quantizer, as its users write it."""

    scaling_impl_type = ScalingImplType.STATS
    scaling_stats_op = StatsOp.AVE
    scaling_per_output_channel = True
    restrict_scaling_type = RestrictValueType.FP


class FixedPointInput(Int8ActPerTensorFixedPoint):
    """Over [-1, 1) with a constant power-of-two scale, for an input quantizer."""

    scaling_impl_type = ScalingImplType.CONST
    min_val = -1.0
    max_val = 1.0


class SignedReLU(Int8ActPerTensorFloat):
    """For a QuantReLU that keeps the sign bit."""


class NarrowReLU(Uint8ActPerTensorFloat):
    """For a QuantReLU without its largest value."""

    narrow_range = True


class PerChannelReLU(Uint8ActPerTensorFloat):
    """For a QuantReLU with a scale a channel."""

    scaling_per_output_channel = True
    per_channel_broadcastable_shape = (1, 8, 1, 1)
    scaling_stats_permute_dims = (1, 0, 2, 3)


def conv(
    a: int,
    b: int,
    kernel: int | tuple[int, int] = 3,
    bits: int = 4,
    quant: type = Int8WeightPerTensorFloat,
    **more: object,
):
    padding = 0 if isinstance(kernel, tuple) else kernel // 2
    options = {"padding": padding, "bias": False, **more}
    return qnn.QuantConv2d(a, b, kernel, weight_quant=quant, weight_bit_width=bits, **options)


def up(channels: int) -> nn.Module:
    """A transposed convolution that doubles the image's sides."""
    return qnn.QuantConvTranspose2d(channels, channels, 2, stride=2, bias=False, weight_bit_width=4)


def linear(a: int, b: int = 10, bits: int = 4, quant: type = Int8WeightPerTensorFloat, **more: object):
    return qnn.QuantLinear(a, b, weight_quant=quant, weight_bit_width=bits, **{"bias": False, **more})


def relu(bits: int = 4, quant: type = Uint8ActPerTensorFloat, **more: object):
    return qnn.QuantReLU(act_quant=quant, bit_width=bits, **more)


def identity(bits: int = 4, quant: type = Int8ActPerTensorFloat, **more: object):
    return qnn.QuantIdentity(act_quant=quant, bit_width=bits, **more)


def norm(channels: int = 8) -> nn.Module:
    return nn.BatchNorm2d(channels)


# --- Networks --------------------------------------------------------------------------------------------------------


def net(changes: Layers | None = None, after: Mapping[str, Layers] | None = None) -> nn.Module:
    """The base: pre-processing, input quantizer, two convolutions with max-pools, one linear layer.

    Args:
        changes: layers to put in the place of the base's; None takes one out.
        after: layers to put behind the base's.
    """
    layers: dict[str, nn.Module | None] = {
        "pre": to_signed(),
        "input": identity(8),
        "conv1": conv(3, 8),
        "norm1": norm(),
        "act1": relu(),
        "pool1": nn.MaxPool2d(2),
        "conv2": conv(8, 8),
        "norm2": norm(),
        "act2": relu(),
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "fc": linear(32),
    }
    chosen: dict[str, nn.Module | None] = {}
    for name, layer in layers.items():
        chosen |= {name: (changes or {}).get(name, layer), **(after or {}).get(name, {})}
    return nn.Sequential(OrderedDict((name, layer) for name, layer in chosen.items() if layer is not None))


def pooled(pool: nn.Module, after: Mapping[str, Layers] | None = None, **changes: nn.Module | None) -> nn.Module:
    """The base with a pool over the whole image in front of the linear layer."""
    return net({"pool2": pool, "fc": linear(8), **changes}, after)


def average(bits: int, quant: type = Int8WeightPerTensorFloat) -> nn.Module:
    """A VGG in small: all layers of one width, and the global average pool."""
    convs = {"conv1": conv(3, 8, bits=bits, quant=quant), "conv2": conv(8, 8, bits=bits, quant=quant)}
    acts = {"act1": relu(bits), "act2": relu(bits)}
    return net({**convs, **acts, "pool2": nn.AdaptiveAvgPool2d(1), "fc": linear(8, bits=bits)})


def truncated(rounding: str | None) -> nn.Module:
    """The base with Brevitas' truncating average pool; None leaves the rounding to Brevitas."""
    options = {} if rounding is None else {"float_to_int_impl_type": rounding}
    pool = qnn.TruncAvgPool2d(4, bit_width=4, **options)
    return pooled(pool, act2=relu(return_quant_tensor=True), flatten=nn.Flatten())


class Residual(nn.Module):
    """Two residual blocks, post- or pre-activation, then the global average pool.

    Args:
        pre: pre-activation blocks.
        quantizers: of the addition: "shared", "once" (shared, and the block reads what is added), "two", or "none".
    """

    def __init__(self, pre: bool = False, quantizers: str = "shared"):
        super().__init__()
        self.pre, self.quantizers = pre, quantizers
        self.input = identity(8, FixedPointInput)
        self.stem = nn.Sequential(OrderedDict(conv=conv(3, 8), norm=norm(), act=relu()))
        for i in (1, 2):
            self.add_module(f"norm{i}", norm())
            self.add_module(f"act{i}", relu())
            self.add_module(f"conv{i}", conv(8, 8))
            self.add_module(f"out{i}", relu())
            if quantizers == "two":
                self.add_module(f"left{i}", identity(4))
                self.add_module(f"right{i}", identity(4))
        if quantizers in ("shared", "once"):
            self.join = identity(4)
        self.last = relu()
        self.pool, self.flatten, self.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(8)

    def add(self, i: int, x: Tensor, y: Tensor) -> Tensor:
        if self.quantizers == "none":
            return x + y
        if self.quantizers == "once":
            return x + self.join(y)
        if self.quantizers == "two":
            return getattr(self, f"left{i}")(x) + getattr(self, f"right{i}")(y)
        return self.join(x) + self.join(y)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.input(2.0 * x - 1.0))
        for i in (1, 2):
            if self.quantizers == "once":
                x = self.join(x)
            if self.pre:
                y = getattr(self, f"conv{i}")(getattr(self, f"act{i}")(getattr(self, f"norm{i}")(x)))
                x = self.add(i, x, y)
            else:
                y = getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(x))
                x = getattr(self, f"out{i}")(self.add(i, x, y))
        return self.fc(self.flatten(self.pool(self.last(x))))


class PaperShortcut(nn.Module):
    """The original WideResNet's narrowing block: average pool 3, stride 2, padding 1, and channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.stem, self.act = identity(8, FixedPointInput), conv(3, 8), relu()
        self.conv, self.join = conv(8, 16, stride=2), identity(4)
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1)
        self.last, self.pool, self.flatten, self.fc = relu(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(self.input(2.0 * x - 1.0)))
        y = self.shortcut(x)
        y = torch.cat([y, torch.zeros_like(y)], 1)
        return self.fc(self.flatten(self.pool(self.last(self.join(self.conv(x)) + self.join(y)))))


class ProjectedShortcut(PaperShortcut):
    """The same block with a 1x1 convolution for a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcut = conv(8, 16, kernel=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(self.input(2.0 * x - 1.0)))
        return self.fc(self.flatten(self.pool(self.last(self.join(self.conv(x)) + self.join(self.shortcut(x))))))


class FloatTwin(nn.Sequential):
    """The base without quantizers."""

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(3, 8, 3, padding=1, bias=False),
                norm1=norm(),
                act1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(8, 8, 3, padding=1, bias=False),
                norm2=norm(),
                act2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                fc=nn.Linear(32, 10, bias=False),
            )
        )


def zoo(bits: int, residual: bool = False) -> nn.Module:
    """The parts of the zoo's networks: 1 bit is the sign, more are a QuantReLU; global average pool, scalar norm."""
    weights = {"bits": bits, "quant": Int8WeightPerTensorFloat} if bits > 1 else {"quant": MeanBinaryWeight, "bits": 1}
    act = relu(bits) if bits > 1 else identity(1, SignedBinaryActPerTensorConst)
    return net(
        {
            "input": identity(8, FixedPointInput),
            "conv1": conv(3, 8, **weights),
            "conv2": conv(8, 8, **weights),
            "act1": act,
            "pool2": nn.AdaptiveAvgPool2d(1),
            "fc": linear(8, bits=max(bits, 2)),
        },
        after={"fc": {"scalar": ScalarNorm()}},
    )


def fixed_point() -> nn.Module:
    weights = {"quant": Int8WeightPerTensorFixedPoint}
    acts = {"act1": relu(quant=Uint8ActPerTensorFixedPoint), "act2": relu(quant=Uint8ActPerTensorFixedPoint)}
    return net({"conv1": conv(3, 8, **weights), "conv2": conv(8, 8, **weights), **acts})


def depthwise(groups: int = 8) -> nn.Module:
    return net(
        {"conv2": conv(8, 8, groups=groups)},
        after={"act2": {"conv3": conv(8, 8, 1), "norm3": norm(), "act3": relu()}},
    )


def hidden(after: nn.Module | None = None, **more: object) -> nn.Module:
    """The base with a second linear layer."""
    return net({"fc": linear(32, 16, **more)}, after={"fc": {"norm3": after, "act3": relu(), "fc2": linear(16)}})


def tensors() -> nn.Module:
    """The base with Brevitas' QuantTensors between the layers."""
    return net({"input": identity(8, return_quant_tensor=True), "act1": relu(return_quant_tensor=True)})


def flat() -> nn.Module:
    """Linear layers only."""
    layers = {"pre": to_signed(), "input": identity(8), "flatten": nn.Flatten(), "fc1": linear(64, 16)}
    layers |= {"norm1": nn.BatchNorm1d(16), "act1": relu(2), "fc2": linear(16)}
    return nn.Sequential(OrderedDict(layers))


class Functional(nn.Module):
    """The base's layers with functions for the head's."""

    def __init__(self, head: str):
        super().__init__()
        self.head, self.body = head, net({"pool2": None, "flatten": None, "fc": None})
        self.fc = linear(8 * 4 * 4 if head == "view" else 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if self.head == "average":
            x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        elif self.head == "mean":
            x = x.mean((2, 3))
        else:
            x = x.view(x.size(0), -1)
        return self.fc(x)


class Branches(nn.Module):
    """Two branches of a convolution each, joined in different ways."""

    def __init__(self, join: str):
        super().__init__()
        self.kind, self.body = (
            join,
            net({"conv2": None, "norm2": None, "act2": None, "pool2": None, "flatten": None, "fc": None}),
        )
        self.left, self.right = conv(8, 8), conv(8, 8, 1)
        unsigned = join == "unsigned"
        self.join = identity(4, Uint8ActPerTensorFloat if unsigned else Int8ActPerTensorFloat)
        self.one, self.two = identity(8, FixedPointInput), identity(8, FixedPointInput)
        self.last, self.pool, self.flatten = relu(), nn.MaxPool2d(2), nn.Flatten()
        self.fc = linear(64 if join == "concat" else 32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        left, right = self.left(x), self.right(x)
        joined = {
            "concat": lambda: torch.cat([self.join(left), self.join(right)], 1),
            "gate": lambda: self.join(left) * self.join(right),
            "constants": lambda: self.one(left) + self.two(right),
            "float": lambda: left + right,
            "three": lambda: self.join(left) + self.join(right) + self.join(x),
            "shared": lambda: self.join(left) + self.join(right),
            "unsigned": lambda: self.join(left) + self.join(right),
        }[self.kind]()
        return self.fc(self.flatten(self.pool(self.last(joined))))


class Forked(nn.Module):
    """The base with two linear layers side by side behind its flattened image, added.

    Args:
        pool: in front of the flattening.
        features: of the flattened image.
        between: whether one linear layer stands in front of the fork.
    """

    def __init__(self, pool: nn.Module, features: int, between: bool = False):
        super().__init__()
        self.body = net({"pool2": pool, "fc": None})
        self.between = nn.Sequential(linear(features, 16), nn.BatchNorm1d(16), relu()) if between else nn.Identity()
        features = 16 if between else features
        self.left, self.right, self.join = linear(features, 16), linear(features, 16), identity()
        self.last, self.fc = relu(), linear(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.body(x))
        return self.fc(self.last(self.join(self.left(x)) + self.join(self.right(x))))


def cnv(name: str) -> nn.Module:
    return build_model(name, width=0.125)


class PooledBranch(nn.Module):
    """A convolution beside a max-pool with one, behind one activation, added."""

    def __init__(self, act: nn.Module, pool: nn.Module):
        super().__init__()
        self.input, self.stem, self.act = identity(8, FixedPointInput), conv(3, 8), act
        self.left, self.pool, self.right = conv(8, 8), pool, conv(8, 8, 1)
        self.join, self.last, self.flatten, self.fc = identity(4), relu(), nn.Flatten(), linear(512)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(self.input(2.0 * x - 1.0)))
        return self.fc(self.flatten(self.last(self.join(self.left(x)) + self.join(self.right(self.pool(x))))))

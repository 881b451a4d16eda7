"""Every verdict of the real FINN as a small network: what it takes, what it refuses, and the mend of each refusal.

A probe differs from an accepted base network in one layer, so that its verdict speaks of that layer. Images are 8 x 8
(the CNVs' 32 x 32), so that a real build takes seconds. ``layer`` and ``rule`` say what ``qtrain lint`` must find.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import brevitas.nn as qnn
import torch
from brevitas.core.quant import BinaryQuant
from brevitas.inject.enum import QuantType, RestrictValueType, ScalingImplType, StatsOp
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8ActPerTensorFloat,
    Int8BiasPerTensorFloatInternalScaling,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
    ShiftedUint8ActPerTensorFloat,
    ShiftedUint8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFixedPoint,
    Uint8ActPerTensorFloat,
)
from brevitas.quant.base import NarrowIntQuant
from torch import Tensor, nn

from qtrain.export.boards import get_board
from qtrain.export.finn_folder import write_build_files, write_golden_pair
from qtrain.export.passes import PASSES
from qtrain.export.qonnx import to_qonnx
from qtrain.export.reference import float64_reference, predict
from qtrain.models import build_model
from qtrain.models.layers import ScalarNorm

Layers = Mapping[str, nn.Module | None]


@dataclass(frozen=True)
class Probe:
    """A network and FINN's verdict on it.

    Attributes:
        name: of the probe.
        make: builds the untrained module; takes images in [0, 1].
        accepted: whether finn-plus 1.6.1 with our step list takes the whole network and computes it right.
        rule: of the finding that lint must report; None where it must report no error and no warning.
        layer: module path that the finding must name; None for the whole network.
        also: rules of further findings that the same change brings.
        mended: the accepted probe that differs from this one by lint's mend.
        shape: of one image.
    """

    name: str
    make: Callable[[], nn.Module]
    accepted: bool = True
    rule: str | None = None
    layer: str | None = None
    also: tuple[str, ...] = ()
    mended: str | None = None
    shape: tuple[int, int, int] = (3, 8, 8)


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
        quantizers: of the addition: "shared", "two", or "none".
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
        if quantizers == "shared":
            self.join = identity(4)
        self.last = relu()
        self.pool, self.flatten, self.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(8)

    def add(self, i: int, x: Tensor, y: Tensor) -> Tensor:
        if self.quantizers == "none":
            return x + y
        if self.quantizers == "two":
            return getattr(self, f"left{i}")(x) + getattr(self, f"right{i}")(y)
        return self.join(x) + self.join(y)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.input(2.0 * x - 1.0))
        for i in (1, 2):
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


# --- The table -------------------------------------------------------------------------------------------------------

ok = Probe


def refused(name: str, make: Callable[[], nn.Module], rule: str, layer: str | None, mended: str, **more) -> Probe:  # type: ignore[no-untyped-def]
    return Probe(name, make, accepted=False, rule=rule, layer=layer, mended=mended, **more)


_CNV = tuple(
    ok(f"cnv_{w}w{a}a", partial(cnv, f"CNV_{w}W{a}A"), shape=(3, 32, 32))
    for w, a in ((1, 1), (1, 2), (2, 2), (3, 3), (4, 4), (8, 8))
)

_HEADS = (
    ok("average_4_bits", partial(average, 4)),
    ok("average_6_bits", partial(average, 6)),
    ok("average_8_bits", partial(average, 8)),
    ok("average_per_channel", partial(average, 4, Int8WeightPerChannelFloat)),
    ok("trunc_floor", partial(truncated, "FLOOR"), rule="trunc-compilers", layer="pool2"),
    refused("trunc_default", partial(truncated, None), "trunc-rounding", "pool2", "trunc_floor"),
    refused("trunc_round", partial(truncated, "ROUND"), "trunc-rounding", "pool2", "trunc_floor"),
    refused("trunc_ceil", partial(truncated, "CEIL"), "trunc-rounding", "pool2", "trunc_floor"),
    refused("avgpool_head", lambda: pooled(nn.AvgPool2d(4)), "average-pool", "pool2", "average_head"),
    ok("average_head", lambda: pooled(nn.AdaptiveAvgPool2d(1))),
    refused("avgpool_middle", lambda: net({"pool1": nn.AvgPool2d(2)}), "average-pool", "pool1", "base"),
)

_RESIDUAL = (
    ok("residual_post", Residual),
    ok("residual_pre", partial(Residual, pre=True)),
    ok("residual_two_post", partial(Residual, quantizers="two"), rule="residual-quantizers", layer="right1"),
    ok("residual_two_pre", partial(Residual, True, "two"), rule="residual-quantizers", layer="right1"),
    # Taken by our steps, in floating point; the table's compilers with their own steps refuse it.
    ok("residual_none", partial(Residual, quantizers="none"), rule="residual-float", layer="norm1"),
    refused("paper_shortcut", PaperShortcut, "average-pool", "shortcut", "projected_shortcut", also=("operator",)),
    ok("projected_shortcut", ProjectedShortcut),
    refused("fork_flattened", lambda: Forked(nn.MaxPool2d(2), 32), "forked-flatten", "body.flatten", "fork_linear"),
    refused(
        "fork_averaged", lambda: Forked(nn.AdaptiveAvgPool2d(1), 8), "forked-flatten", "body.flatten", "fork_one_pixel"
    ),
    ok("fork_linear", lambda: Forked(nn.MaxPool2d(2), 32, between=True)),
    ok("fork_one_pixel", lambda: Forked(nn.MaxPool2d(4), 8)),
)

_WEIGHTS = (
    ok("binary_mean", lambda: net({"conv2": conv(8, 8, bits=1, quant=MeanBinaryWeight)})),
    refused(
        "binary_clamped",
        lambda: net({"conv2": conv(8, 8, bits=1, quant=ClampedMeanBinaryWeight)}),
        "weights-clamped",
        "conv2",
        "binary_mean",
    ),
    ok("binary_const", lambda: net({"conv2": conv(8, 8, bits=1, quant=SignedBinaryWeightPerTensorConst)})),
    refused("integer_1_bit", lambda: net({"conv2": conv(8, 8, bits=1)}), "integer-1-bit", "conv2", "binary_mean"),
    refused(
        "weight_zero_point",
        lambda: net({"conv2": conv(8, 8, quant=ShiftedUint8WeightPerTensorFloat)}),
        "zero-point",
        "conv2",
        "base",
    ),
    refused(
        "float_weights",
        lambda: net({"conv2": nn.Conv2d(8, 8, 3, padding=1, bias=False)}),
        "float-weights",
        "conv2",
        "base",
    ),
    refused("float_twin", FloatTwin, "not-quantized", None, "base"),
)

_INPUTS = (
    ok("base", net),
    ok("input_mean_std", lambda: net({"pre": mean_std()})),
    ok("input_fixed_point", lambda: net({"input": identity(8, FixedPointInput)})),
    ok("input_pixels", lambda: net({"pre": None, "input": None})),
    refused("input_signed_float", lambda: net({"input": None}), "float-input", "conv1", "base"),
    refused("input_mean_std_float", lambda: net({"pre": mean_std(), "input": None}), "float-input", "conv1", "base"),
)

_ACTIVATIONS = (
    ok("relu_2_bits", lambda: net({"act1": relu(2)})),
    ok("relu_8_bits", lambda: net({"act1": relu(8)})),
    refused("relu_signed", lambda: net({"act1": relu(quant=SignedReLU)}), "relu-quantizer", "act1", "base"),
    refused("relu_narrow", lambda: net({"act1": relu(quant=NarrowReLU)}), "relu-quantizer", "act1", "base"),
    # Behind a ReLU the smallest value is 0, and so is the zero point.
    ok("relu_zero_point", lambda: net({"act1": relu(quant=ShiftedUint8ActPerTensorFloat)})),
    refused(
        "identity_zero_point",
        lambda: net({"act1": identity(quant=ShiftedUint8ActPerTensorFloat)}),
        "zero-point",
        "act1",
        "identity_signed",
        also=("unsigned-identity",),
    ),
    refused("relu_9_bits", lambda: net({"act1": relu(9)}), "wide-activation", "act1", "relu_8_bits"),
    refused("relu_16_bits", lambda: net({"act2": relu(16)}), "wide-activation", "act2", "relu_8_bits"),
    refused("relu_per_channel", lambda: net({"act1": relu(quant=PerChannelReLU)}), "activation-scale", "act1", "base"),
    ok("identity_signed", lambda: net({"act1": identity()})),
    ok(
        "identity_unsigned",
        lambda: net({"act1": identity(quant=Uint8ActPerTensorFloat)}),
        rule="unsigned-identity",
        layer="act1",
    ),
    refused("relu_float", lambda: net({"act1": nn.ReLU()}), "float-activation", "act1", "base"),
    ok("hardtanh", lambda: net({"act1": qnn.QuantHardTanh(bit_width=4, min_val=-1.0, max_val=1.0)})),
    ok("sign", lambda: net({"act1": identity(1, SignedBinaryActPerTensorConst)})),
    ok("power_of_two", fixed_point),
)

_CONVOLUTIONS = (
    ok("bias_float_norm", lambda: net({"conv2": conv(8, 8, bias=True)})),
    ok("bias_float", lambda: net({"conv2": conv(8, 8, bias=True), "norm2": None})),
    refused(
        "bias_int8",
        lambda: net({"conv2": conv(8, 8, bias=True, bias_quant=Int8BiasPerTensorFloatInternalScaling)}),
        "bias-quantizer",
        "conv2",
        "bias_float_norm",
    ),
    ok("stride_2", lambda: net({"conv2": conv(8, 8, stride=2), "pool2": None})),
    ok("kernel_1", lambda: net({"conv2": conv(8, 8, 1)})),
    ok("dilation", lambda: net({"conv2": conv(8, 8, dilation=2, padding=2)})),
    ok("depthwise", depthwise),
    refused("grouped", lambda: net({"conv2": conv(8, 8, groups=2)}), "groups", "conv2", "base"),
    refused(
        "even_kernel_padded",
        lambda: net({"conv2": conv(8, 8, 2, padding=0)}, after={"pool1": {"pad": nn.ZeroPad2d((0, 1, 0, 1))}}),
        "padding",
        "pad",
        "base",
    ),
    ok("dropout", lambda: net(after={"pool2": {"dropout": nn.Dropout(0.2)}})),
)

_LAST = (
    ok("scalar_norm", lambda: net(after={"fc": {"scalar": ScalarNorm()}})),
    refused("last_bias", lambda: net({"fc": linear(32, bias=True)}), "head", "fc", "base"),
    refused("last_norm", lambda: net(after={"fc": {"last": nn.BatchNorm1d(10)}}), "head", "last", "scalar_norm"),
    refused("last_per_channel", lambda: net({"fc": linear(32, quant=Int8WeightPerChannelFloat)}), "head", "fc", "base"),
    refused("last_softmax", lambda: net(after={"fc": {"softmax": nn.Softmax(1)}}), "head", "softmax", "base"),
)

_POOLS = (
    ok("pool_before_quantizer", lambda: net({"act1": nn.MaxPool2d(2), "pool1": relu()})),
    ok("identity_after_pool", lambda: net(after={"pool1": {"requant": identity()}})),
    ok(
        "odd_pool",
        lambda: net({"conv1": conv(3, 8, padding=0), "fc": linear(8)}),
        rule="odd-pool",
        layer="pool2",
    ),
    ok("even_pool", lambda: net({"conv1": conv(3, 8, padding=0), "pool2": nn.Identity(), "fc": linear(72)})),
)

_ZOO = (
    ok("zoo_1_bit", partial(zoo, 1)),
    ok("zoo_2_bits", partial(zoo, 2)),
    ok("zoo_4_bits", partial(zoo, 4)),
)

# Networks of others: what the table does not list, measured all the same.
_OTHERS = (
    ok("conv_conv", lambda: net({"norm1": None, "act1": None, "pool1": None, "pool2": nn.MaxPool2d(4)})),
    refused(
        "conv_norm_conv",
        lambda: net({"act1": None, "pool1": None, "pool2": nn.MaxPool2d(4)}),
        "float-input",
        "conv2",
        "base",
    ),
    refused("norm_behind_quantizer", lambda: net({"norm1": relu(), "act1": norm()}), "float-input", "conv2", "base"),
    ok("hidden_linear", lambda: hidden(bias=False)),
    ok("hidden_bias", lambda: hidden(bias=True)),
    ok("hidden_bias_int8", lambda: hidden(bias=True, bias_quant=Int8BiasPerTensorFloatInternalScaling)),
    ok("hidden_norm", lambda: hidden(nn.BatchNorm1d(16), bias=False)),
    ok("output_quantizer", lambda: net({"fc": linear(32, output_quant=Int8ActPerTensorFloat)})),
    ok("even_kernel", lambda: net({"conv2": conv(8, 8, 2, padding=0), "pool2": None, "fc": linear(72)})),
    ok("patches", lambda: net({"conv1": conv(3, 8, 2, stride=2, padding=0), "pool1": None})),
    ok("pool_3_2", lambda: net({"pool1": nn.MaxPool2d(3, 2, 1)})),
    ok("pool_3_2_unpadded", lambda: net({"pool1": nn.MaxPool2d(3, 2), "pool2": nn.MaxPool2d(3, 2), "fc": linear(8)})),
    ok("pool_3_1", lambda: net({"pool1": nn.MaxPool2d(3, 1, 1), "pool2": nn.MaxPool2d(4)})),
    refused(
        "depthwise_multiplier",
        lambda: net({"conv2": conv(8, 16, groups=8), "norm2": norm(16), "fc": linear(64)}),
        "groups",
        "conv2",
        "depthwise",
    ),
    refused("relu_1_bit", lambda: net({"act1": relu(1)}), "integer-1-bit", "act1", "sign"),
    refused("identity_1_bit", lambda: net({"act1": identity(1)}), "integer-1-bit", "act1", "sign"),
    refused("relu6", lambda: net({"act1": nn.ReLU6()}), "operator", "act1", "base"),
    refused(
        "leaky_relu_quantized",
        lambda: net({"act1": nn.LeakyReLU()}, after={"act1": {"quant1": identity()}}),
        "operator",
        "act1",
        "identity_signed",
    ),
    refused(
        "sigmoid",
        lambda: net({"act1": qnn.QuantSigmoid(bit_width=4)}),
        "operator",
        "act1",
        "base",
        also=("unsigned-identity",),
    ),
    ok(
        "hand_relu",
        lambda: net({"act1": nn.ReLU()}, after={"act1": {"quant1": identity(quant=Uint8ActPerTensorFloat)}}),
    ),
    ok("weights_16_bits", lambda: net({"conv2": conv(8, 8, bits=16)})),
    refused("input_10_bits", lambda: net({"input": identity(10)}), "wide-activation", "input", "base"),
    ok("input_4_bits", lambda: net({"input": identity(4)})),
    ok(
        "sign_unpadded",
        lambda: net(
            {"act1": identity(1, SignedBinaryActPerTensorConst), "conv2": conv(8, 8, padding=0), "fc": linear(8)}
        ),
    ),
    ok("sign_kernel_1", lambda: net({"act1": identity(1, SignedBinaryActPerTensorConst), "conv2": conv(8, 8, 1)})),
    ok("asymmetric_kernel", lambda: net({"conv2": conv(8, 8, (3, 1), padding=(1, 0))})),
    ok("asymmetric_stride", lambda: net({"conv2": conv(8, 8, stride=(2, 1)), "pool2": None, "fc": linear(64)})),
    ok("quant_tensors", lambda: tensors()),
    ok("global_average_function", lambda: Functional("average")),
    refused("mean", lambda: Functional("mean"), "operator", "ReduceMean", "global_average_function"),
    ok("view", lambda: Functional("view")),
    ok("flat", flat, shape=(1, 8, 8)),
    ok("wide_image", lambda: net({"fc": linear(64)}), shape=(3, 8, 16)),
    ok("one_channel", lambda: net({"conv1": conv(1, 8)}), shape=(1, 8, 8)),
    refused(
        "upsample",
        lambda: net(after={"pool1": {"up": nn.Upsample(scale_factor=2)}, "act2": {"pool3": nn.MaxPool2d(2)}}),
        "operator",
        "up",
        "base",
    ),
    ok("affine_channel", lambda: net({"norm1": Affine([0.5] * 7 + [0.7], [0.1] * 7 + [0.2])})),
    ok("shared_branches", lambda: Branches("shared")),
    ok("negative_scalar", lambda: net(after={"fc": {"scalar": Affine(-0.5, 0.1)}})),
    refused("channel_shuffle", lambda: net(after={"act1": {"shuffle": Shuffle()}}), "operator", "shuffle", "base"),
    refused(
        "identity_after_average",
        lambda: pooled(nn.Sequential(OrderedDict(average=nn.AdaptiveAvgPool2d(1), requant=identity()))),
        "average-quantizer",
        "pool2.requant",
        "average_head",
    ),
    refused(
        "identity_after_flatten",
        lambda: pooled(nn.AdaptiveAvgPool2d(1), after={"flatten": {"requant": identity()}}),
        "average-quantizer",
        "requant",
        "average_head",
    ),
    ok(
        "average_hidden",
        lambda: pooled(nn.AdaptiveAvgPool2d(1), fc=linear(8, 16), after={"fc": {"act3": relu(), "fc2": linear(16)}}),
    ),
    refused("concat", lambda: Branches("concat"), "operator", "Concat", "shared_branches"),
    refused("gate", lambda: Branches("gate"), "operator", "Mul", "shared_branches"),
    ok("equal_constants", lambda: Branches("constants")),
    ok("float_branch", lambda: Branches("float"), rule="residual-quantizers", layer="right"),
    ok("three_branches", lambda: Branches("three")),
    ok("unsigned_join", lambda: Branches("unsigned"), rule="unsigned-identity", layer="join"),
    refused("group_norm", lambda: net({"norm1": nn.GroupNorm(2, 8)}), "operator", "norm1", "base"),
    ok(
        "layers_behind_average",
        lambda: pooled(nn.AdaptiveAvgPool2d(1), fc=None, flatten=nn.Sequential(conv(8, 10, 1), nn.Flatten())),
    ),
    refused("adaptive_2", lambda: net({"pool2": nn.AdaptiveAvgPool2d(2)}), "average-pool", "pool2", "average_head"),
    refused(
        "trunc_adaptive",
        lambda: pooled(
            qnn.TruncAdaptiveAvgPool2d(1, bit_width=4, float_to_int_impl_type="FLOOR"),
            act2=relu(return_quant_tensor=True),
        ),
        "trunc-pool",
        "pool2",
        "average_head",
    ),
)

_ALL = (
    *_CNV,
    *_HEADS,
    *_RESIDUAL,
    *_WEIGHTS,
    *_INPUTS,
    *_ACTIVATIONS,
    *_CONVOLUTIONS,
    *_LAST,
    *_POOLS,
    *_ZOO,
    *_OTHERS,
)
PROBES: dict[str, Probe] = {probe.name: probe for probe in _ALL}


# --- In the hands of the compiler ------------------------------------------------------------------------------------


def warmed_up(probe: Probe) -> nn.Module:
    """Build the probe's network and move its statistics."""
    torch.manual_seed(0)
    return moved(probe.make(), probe.shape)


def moved(model: nn.Module, shape: tuple[int, int, int], batches: int = 4) -> nn.Module:
    """Move a network's statistics, as training would; random images, evaluation mode."""
    for _ in range(batches):
        model(torch.rand(32, *shape))
    return model.eval()


def write_folder(model: nn.Module, shape: tuple[int, int, int], folder: Path, images: int = 4) -> None:
    """Write what the compiler needs: the graph, our steps, and images with the classes of torch in float64.

    Of many random images those with the clearest answers are taken, so that float32's rounding decides nothing.
    """
    graph = to_qonnx(model, shape)
    for step in PASSES:
        graph = step.apply(graph)
    folder.mkdir(parents=True)
    graph.save(str(folder / "model.onnx"))
    write_build_files(folder, get_board("Pynq-Z1"), target_fps=100, clock_ns=10.0)
    pixels = torch.randint(0, 256, (64, *shape), dtype=torch.uint8)
    logits = predict(float64_reference(model, pixels[:1].float() / 255), pixels)
    best = logits.topk(2).values
    clearest = (best[:, 0] - best[:, 1]).argsort(descending=True)[:images]
    write_golden_pair(folder, pixels[clearest], logits.argmax(1)[clearest])

"""Probes of the order of axes, of constants, of roundings, and of images that have no height."""

from collections import OrderedDict

import brevitas.nn as qnn
from brevitas.quant import Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from torch import nn

from tests.export.lint.probe_kinds import ok, refused
from tests.export.lint.probe_networks import conv, identity, linear, net, pooled, relu, to_signed
from tests.export.lint.random_blocks import Constant, Function


class RoundingDown(Uint8ActPerTensorFloat):
    """For a QuantReLU that drops what lies between two values."""

    float_to_int_impl_type = "FLOOR"


class WeightsRoundedDown(Int8WeightPerTensorFloat):
    """The same for weights."""

    float_to_int_impl_type = "FLOOR"


def turned(*axes: int) -> nn.Module:
    """The image with its axes in another order."""
    return Function(lambda x: x.permute(axes))


def thin(kernel: tuple[int, int], padding: tuple[int, int], pool: tuple[int, int] = (1, 2)) -> nn.Module:
    """The base for images of one row, or of one column."""
    convs = {"conv1": conv(3, 8, kernel, padding=padding), "conv2": conv(8, 8, kernel, padding=padding)}
    return net({**convs, "pool1": nn.MaxPool2d(pool), "pool2": nn.MaxPool2d(pool)})


def sequence() -> nn.Module:
    """Convolutions and pools of torch's 1-D kind over the image's rows, one after the other."""
    layers = {"pre": to_signed(), "input": identity(8), "rows": Function(lambda x: x.flatten(2))}
    layers |= {"conv1": qnn.QuantConv1d(3, 8, 3, padding=1, bias=False, weight_bit_width=4), "act1": relu()}
    layers |= {"pool1": nn.MaxPool1d(4), "flatten": nn.Flatten(), "fc": linear(128)}
    return nn.Sequential(OrderedDict(layers))


def linear_layers() -> nn.Module:
    """Linear layers alone, which no order of axes disturbs."""
    layers = {"pre": to_signed(), "input": identity(8), "flatten": nn.Flatten(), "fc1": linear(192, 16)}
    layers |= {"norm1": nn.BatchNorm1d(16), "act1": relu(2), "fc2": linear(16)}
    return nn.Sequential(OrderedDict(layers))


LAYOUTS = (
    refused("turned", lambda: net(after={"pool1": {"turn": turned(0, 1, 3, 2)}}), "transpose", "turn", "base"),
    refused("turned_input", lambda: net(after={"pre": {"turn": turned(0, 1, 3, 2)}}), "transpose", "turn", "base"),
    refused(
        "turned_average",
        lambda: pooled(nn.AdaptiveAvgPool2d(1), after={"act2": {"turn": turned(0, 1, 3, 2)}}),
        "transpose",
        "turn",
        "average_head",
    ),
    refused(
        "flatten_columns",
        lambda: net(after={"pool2": {"turn": turned(0, 1, 3, 2)}}),
        "transpose",
        "turn",
        "flatten_channels_last",
    ),
    ok("flatten_channels_last", lambda: net(after={"pool2": {"turn": turned(0, 2, 3, 1)}})),
    ok("turned_twice", lambda: net(after={"pool1": {"a": turned(0, 2, 3, 1), "b": turned(0, 3, 1, 2)}})),
    refused(
        "channels_last",
        lambda: net({"pre": nn.Sequential(turned(0, 3, 1, 2), to_signed())}),
        "channels-last",
        "pre.0",
        "base",
        shape=(8, 8, 3),
    ),
    refused(
        "channels_last_pixels",
        lambda: net({"pre": turned(0, 3, 1, 2), "input": None}),
        "channels-last",
        "pre",
        "input_pixels",
        shape=(8, 8, 3),
    ),
    ok("channels_last_linear", linear_layers, shape=(8, 8, 3)),
    refused(
        "squeezed",
        lambda: pooled(nn.AdaptiveAvgPool2d(1), flatten=Function(lambda x: x.squeeze(3).squeeze(2))),
        "operator",
        "flatten",
        "average_head",
    ),
    refused(
        "flattened_twice",
        lambda: net({"flatten": nn.Sequential(nn.Flatten(2), nn.Flatten(1))}),
        "operator",
        "flatten.0",
        "base",
    ),
)

CONSTANTS = (
    refused(
        "from_one", lambda: net(after={"norm1": {"minus": Function(lambda x: 1 - x)}}), "operator", "minus", "minus"
    ),
    ok("minus", lambda: net(after={"norm1": {"minus": Function(lambda x: x * -1.0 + 1)}})),
    refused("negated", lambda: net(after={"norm1": {"minus": Function(lambda x: -x)}}), "operator", "minus", "minus"),
    ok("constant_channel", lambda: net(after={"norm1": {"constant": Constant((8, 1, 1), product=False)}})),
    ok("constant_behind_layer", lambda: net({"norm1": Constant((8, 1, 1), product=False)})),
    ok("constant_pixel", lambda: net(after={"norm1": {"constant": Constant((1, 8, 8), product=True)}})),
    refused(
        "mean_image",
        lambda: net(after={"pre": {"constant": Constant((3, 8, 8), product=False)}}),
        "pixel-constant",
        "constant",
        "input_mean_std",
    ),
    refused(
        "constant_behind_pool",
        lambda: net({"act1": None}, after={"pool1": {"constant": Constant((8, 4, 4), product=False), "act": relu()}}),
        "pixel-constant",
        "constant",
        "constant_pixel",
    ),
    refused(
        "constant_features",
        lambda: net(after={"flatten": {"constant": Constant((32,), product=False), "requant": identity(8)}}),
        "pixel-constant",
        "constant",
        "base",
    ),
)

ROUNDINGS = (
    refused(
        "weights_floor",
        lambda: net({"conv2": conv(8, 8, quant=WeightsRoundedDown)}),
        "quantizer-rounding",
        "conv2",
        "base",
    ),
    refused("relu_floor", lambda: net({"act1": relu(quant=RoundingDown)}), "quantizer-rounding", "act1", "base"),
)

THIN = (
    ok("one_row", lambda: thin((1, 3), (0, 1)), shape=(3, 1, 16)),
    refused("one_row_square", lambda: thin((3, 3), (1, 1)), "thin-image", "conv1", "one_row", shape=(3, 1, 16)),
    ok("one_column", lambda: thin((3, 1), (1, 0), (2, 1)), shape=(3, 16, 1)),
    refused("sequence", sequence, "axes", "conv1", "one_column", also=("operator",)),
)

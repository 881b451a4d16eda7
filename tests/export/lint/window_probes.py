"""Probes of what slides over an image: convolutions, padding and max-pools, attribute by attribute."""

from brevitas.quant import Int8BiasPerTensorFloatInternalScaling, SignedBinaryActPerTensorConst
from torch import nn

from tests.export.lint.probe_kinds import ok, refused
from tests.export.lint.probe_networks import (
    MeanBinaryWeight,
    PooledBranch,
    conv,
    depthwise,
    identity,
    linear,
    net,
    norm,
    relu,
    up,
)


def sign() -> nn.Module:
    """An activation of one bit."""
    return identity(1, SignedBinaryActPerTensorConst)


def binary(**more: object) -> nn.Module:
    """A convolution with weights of one bit."""
    return conv(8, 8, bits=1, quant=MeanBinaryWeight, **more)


CONVOLUTIONS = (
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
    ok("pad_nothing", lambda: net(after={"pool1": {"pad": nn.ZeroPad2d(0)}})),
    refused(
        "pad_mirrored",
        lambda: net({"conv2": conv(8, 8, padding_mode="reflect")}),
        "padding",
        "conv2",
        "base",
    ),
    refused(
        "pad_ones",
        lambda: net({"conv2": conv(8, 8, padding=0)}, after={"pool1": {"pad": nn.ConstantPad2d(1, 1.0)}}),
        "padding",
        "pad",
        "base",
    ),
    refused("pad_around", lambda: net({"conv2": conv(8, 8, padding_mode="circular")}), "operator", "conv2", "base"),
    refused(
        "transposed",
        lambda: net(after={"pool1": {"up": up(8)}, "act2": {"pool3": nn.MaxPool2d(2)}}),
        "operator",
        "up",
        "base",
    ),
    ok("dilation_axes", lambda: net({"conv2": conv(8, 8, dilation=(1, 2), padding=(1, 2))})),
    ok("dilation_stride", lambda: net({"conv2": conv(8, 8, dilation=2, padding=2, stride=2), "pool2": None})),
    ok("depthwise_dilated", lambda: net({"conv2": conv(8, 8, dilation=2, padding=2, groups=8)})),
    ok("depthwise_1_3", lambda: net({"conv2": conv(8, 8, (1, 3), padding=(0, 1), groups=8)})),
    ok("depthwise_stride", lambda: net({"conv2": conv(8, 8, groups=8, stride=2), "pool2": None})),
    ok("depthwise_sign", lambda: net({"act1": sign(), "conv2": conv(8, 8, groups=8), "act2": sign()})),
    ok("depthwise_binary", lambda: net({"act1": sign(), "conv2": binary(groups=8), "act2": sign()})),
    ok(
        "depthwise_binary_twice",
        lambda: net(
            {"act1": sign(), "pool1": None, "conv2": binary(groups=8, padding=0), "act2": sign()},
            after={"act2": {"conv3": binary(groups=8, padding=0), "norm3": norm(), "act3": sign()}},
        ),
    ),
    ok("kernel_1_3", lambda: net({"conv2": conv(8, 8, (1, 3), padding=(0, 1))})),
    ok("kernel_3_5", lambda: net({"conv2": conv(8, 8, (3, 5), padding=(1, 2))})),
    ok("kernel_1_padded", lambda: net({"conv2": conv(8, 8, 1, padding=1), "pool2": nn.MaxPool2d(3)})),
    ok("kernel_1_stride", lambda: net({"conv2": conv(8, 8, 1, stride=2), "pool2": None})),
    ok(
        "stride_beyond", lambda: net({"pool1": None, "conv2": conv(8, 8, 2, stride=3), "pool2": None, "fc": linear(72)})
    ),
    ok(
        "padding_axes",
        lambda: net({"conv2": conv(8, 8, padding=(0, 1)), "pool2": nn.MaxPool2d((2, 4)), "fc": linear(8)}),
    ),
    ok("same_even", lambda: net({"conv2": conv(8, 8, 2, padding="same")})),
    ok("same_odd", lambda: net({"conv2": conv(8, 8, padding="same")})),
    ok("one_filter", lambda: net({"conv1": conv(3, 1), "norm1": norm(1), "conv2": conv(1, 8)})),
    ok("dropout", lambda: net(after={"pool2": {"dropout": nn.Dropout(0.2)}})),
    ok("even_kernel", lambda: net({"conv2": conv(8, 8, 2, padding=0), "pool2": None, "fc": linear(72)})),
    ok("patches", lambda: net({"conv1": conv(3, 8, 2, stride=2, padding=0), "pool1": None})),
    ok("asymmetric_kernel", lambda: net({"conv2": conv(8, 8, (3, 1), padding=(1, 0))})),
    ok("asymmetric_stride", lambda: net({"conv2": conv(8, 8, stride=(2, 1)), "pool2": None, "fc": linear(64)})),
    refused(
        "depthwise_multiplier",
        lambda: net({"conv2": conv(8, 16, groups=8), "norm2": norm(16), "fc": linear(64)}),
        "groups",
        "conv2",
        "depthwise",
    ),
)

MAX_POOLS = (
    refused("pool_ceil", lambda: net({"pool1": nn.MaxPool2d(3, 2, ceil_mode=True)}), "pool-ceil", "pool1", "pool_3_2"),
    refused(
        "pool_ceil_odd",
        lambda: net({"conv1": conv(3, 8, 2, padding=0), "pool1": nn.MaxPool2d(2, ceil_mode=True)}),
        "pool-ceil",
        "pool1",
        "pool_2_padded",
    ),
    ok(
        "pool_2_padded",
        lambda: net({"conv1": conv(3, 8, 2, padding=0), "pool1": nn.MaxPool2d(2, padding=1)}),
        rule="odd-pool",
        layer="pool1",
    ),
    ok("pool_ceil_whole", lambda: net({"pool1": nn.MaxPool2d(2, ceil_mode=True)})),
    ok("pool_ceil_stride_1", lambda: net({"pool1": nn.MaxPool2d(3, 1, 1, ceil_mode=True), "pool2": nn.MaxPool2d(4)})),
    refused(
        "pool_dilated",
        lambda: net({"pool1": nn.MaxPool2d(3, 1, 1, dilation=2), "fc": linear(72)}),
        "pool-dilation",
        "pool1",
        "pool_3_1",
    ),
    refused("pool_small", lambda: net({"pool1": nn.MaxPool2d(1, 2)}), "pool-stride", "pool1", "base"),
    refused("pool_row", lambda: net({"pool1": nn.MaxPool2d((2, 1), 2)}), "pool-stride", "pool1", "base"),
    ok("pool_2_1", lambda: net({"pool1": nn.MaxPool2d((2, 1)), "fc": linear(64)})),
    ok("pool_1_2", lambda: net({"pool1": nn.MaxPool2d((1, 2)), "fc": linear(64)})),
    ok("pool_stride_1", lambda: net({"pool1": nn.MaxPool2d(2, 1), "pool2": nn.MaxPool2d(4, 3), "fc": linear(32)})),
    ok("pool_2_3", lambda: net({"pool1": nn.MaxPool2d((2, 3), 2, (0, 1))})),
    ok(
        "pool_strides",
        lambda: net({"pool1": nn.MaxPool2d(2, (2, 1), (0, 1)), "pool2": nn.MaxPool2d((2, 9)), "fc": linear(16)}),
    ),
    refused(
        "branch_pool_signed",
        lambda: PooledBranch(identity(), nn.MaxPool2d(3, 1, 1)),
        "pool-signed",
        "pool",
        "branch_pool",
    ),
    refused(
        "branch_pool_sign", lambda: PooledBranch(sign(), nn.MaxPool2d(3, 1, 1)), "pool-signed", "pool", "branch_pool"
    ),
    ok("branch_pool", lambda: PooledBranch(relu(), nn.MaxPool2d(3, 1, 1))),
    ok("pool_signed_padded", lambda: net({"act1": identity(), "pool1": nn.MaxPool2d(3, 2, 1)})),
    ok("pool_of_the_input", lambda: net({"pool2": None}, after={"input": {"pool0": nn.MaxPool2d(2)}})),
    ok("adaptive_max", lambda: net({"pool2": nn.AdaptiveMaxPool2d(1), "fc": linear(8)})),
    ok("pool_before_quantizer", lambda: net({"act1": nn.MaxPool2d(2), "pool1": relu()})),
    ok("identity_after_pool", lambda: net(after={"pool1": {"requant": identity()}})),
    ok(
        "odd_pool",
        lambda: net({"conv1": conv(3, 8, padding=0), "fc": linear(8)}),
        rule="odd-pool",
        layer="pool2",
    ),
    ok("even_pool", lambda: net({"conv1": conv(3, 8, padding=0), "pool2": nn.Identity(), "fc": linear(72)})),
    ok("pool_3_2", lambda: net({"pool1": nn.MaxPool2d(3, 2, 1)})),
    ok("pool_3_2_unpadded", lambda: net({"pool1": nn.MaxPool2d(3, 2), "pool2": nn.MaxPool2d(3, 2), "fc": linear(8)})),
    ok("pool_3_1", lambda: net({"pool1": nn.MaxPool2d(3, 1, 1), "pool2": nn.MaxPool2d(4)})),
)

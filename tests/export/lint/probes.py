"""Every verdict of the real FINN as a small network: what it takes, what it refuses, and the mend of each refusal.

A probe differs from an accepted base network in one layer, so that its verdict speaks of that layer. Images are 8 x 8
(the CNVs' 32 x 32), so that a real build takes seconds. ``layer`` and ``rule`` say what ``qtrain lint`` must find.
"""

from collections import OrderedDict
from functools import partial

import brevitas.nn as qnn
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8BiasPerTensorFloatInternalScaling,
    Int8WeightPerChannelFloat,
    ShiftedUint8ActPerTensorFloat,
    ShiftedUint8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
)
from torch import nn

from qtrain.models.layers import ScalarNorm
from tests.export.lint.layout_probes import CONSTANTS, LAYOUTS, ROUNDINGS, THIN
from tests.export.lint.probe_kinds import Probe, ok, refused
from tests.export.lint.probe_networks import (
    Affine,
    Branches,
    ClampedMeanBinaryWeight,
    FixedPointInput,
    FloatTwin,
    Forked,
    Functional,
    MeanBinaryWeight,
    NarrowReLU,
    PaperShortcut,
    PerChannelReLU,
    ProjectedShortcut,
    Residual,
    Shuffle,
    SignedReLU,
    average,
    cnv,
    conv,
    fixed_point,
    flat,
    hidden,
    identity,
    linear,
    mean_std,
    net,
    norm,
    pooled,
    relu,
    tensors,
    truncated,
    zoo,
)
from tests.export.lint.window_probes import CONVOLUTIONS, MAX_POOLS

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
    # A fork straight into the addition and the block.
    ok("residual_once_post", partial(Residual, quantizers="once")),
    ok("residual_once_pre", partial(Residual, True, "once")),
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

_LAST = (
    ok("scalar_norm", lambda: net(after={"fc": {"scalar": ScalarNorm()}})),
    refused("last_bias", lambda: net({"fc": linear(32, bias=True)}), "head", "fc", "base"),
    refused("last_norm", lambda: net(after={"fc": {"last": nn.BatchNorm1d(10)}}), "head", "last", "scalar_norm"),
    refused("last_per_channel", lambda: net({"fc": linear(32, quant=Int8WeightPerChannelFloat)}), "head", "fc", "base"),
    refused("last_softmax", lambda: net(after={"fc": {"softmax": nn.Softmax(1)}}), "head", "softmax", "base"),
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
    *CONVOLUTIONS,
    *_LAST,
    *MAX_POOLS,
    *_ZOO,
    *_OTHERS,
    *LAYOUTS,
    *CONSTANTS,
    *ROUNDINGS,
    *THIN,
)
PROBES: dict[str, Probe] = {probe.name: probe for probe in _ALL}

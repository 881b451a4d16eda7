"""The steps between FINN's import of a network and its dataflow partition, for every network of this project.

FINN's own `step_streamline` and `step_convert_to_hw` are made for chains of layers; these take residual additions,
global average pools, padded max-pools and fully connected networks as well. The file stands alone: it needs official
FINN or FINN+ with their qonnx and numpy, and lies in every FINN folder.

A step is `step(model, cfg) -> model`. `ESTIMATE_STEPS` and `BUILD_STEPS` hold the whole order: FINN's own steps by
name, ours as functions in place of those two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

import custom_transforms as own  # type: ignore[import-not-found]  # it lies beside this file
from finn.builder.build_dataflow_config import (
    VerificationStepType,
    default_build_dataflow_steps,
    estimate_only_dataflow_steps,
)
from finn.builder.build_dataflow_steps import verify_step
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.base import Transformation

Config = Any
Step = Callable[[ModelWrapper, Config], ModelWrapper]
ROUNDS = 100  # far more than any network needs: a transpose passes one block or more in each
HARDWARE = (  # conversions, with their modules in FINN+; official FINN's additions, pools and channels have no module
    ("InferAddStreamsLayer", "add_streams"),
    ("InferStreamingMaxPool", "streaming_max_pool"),
    ("InferPool", "pool"),
    ("InferBinaryMatrixVectorActivation", "binary_matrix_vector_activation"),
    ("InferQuantizedMatrixVectorActivation", "quantized_matrix_vector_activation"),
    ("InferVectorVectorActivation", "vector_vector_activation"),
    ("InferThresholdingLayer", "thresholding"),
    ("InferConvInpGen", "conv_inp_gen"),
    ("InferChannelwiseLinearLayer", "channelwise_linear"),
    ("InferElementwiseBinaryOperation", "elementwise_binary_operation"),
    ("InferLabelSelectLayer", "label_select"),
    ("InferDuplicateStreamsLayer", "duplicate_streams"),
)
# Of each line one is needed: official FINN's main adds streams and pools its own way, its dev and FINN+ another.
ONE_OF = (
    ("InferAddStreamsLayer", "InferElementwiseBinaryOperation"),
    ("InferStreamingMaxPool", "InferPool"),
    ("InferBinaryMatrixVectorActivation",),
    ("InferQuantizedMatrixVectorActivation",),
    ("InferVectorVectorActivation",),
    ("InferThresholdingLayer",),
    ("InferConvInpGen",),
    ("InferLabelSelectLayer",),
    ("InferDuplicateStreamsLayer",),
)


class MissingTransformation(AttributeError):
    """This FINN has no transformation of a name that a step needs, and none that could take its place."""


class _Public:
    """Looks public transformations up by name when a step runs: versions of FINN differ in a few of them.

    Args:
        package: in which the modules lie.
        modules: in one of which the name is to be found, the first that has it.
    """

    def __init__(self, package: str, *modules: str):
        self._places = [f"{package}.{module}" for module in modules]

    def __getattr__(self, name: str) -> Any:
        for place in self._places:
            try:
                return getattr(import_module(place), name)
            except (ImportError, AttributeError):
                continue
        raise MissingTransformation(_missing(f"{name} in {' or '.join(self._places)}"))


absorb = _Public("finn.transformation.streamline", "absorb")
collapse_repeated = _Public("finn.transformation.streamline", "collapse_repeated")
reorder = _Public("finn.transformation.streamline", "reorder")
thresholds = _Public("finn.transformation.streamline", "round_thresholds", "sign_to_thres")
reshape = _Public("finn.transformation", "move_reshape")
general = _Public("qonnx.transformation", "general", "remove", "batchnorm_to_affine", "bipolar_to_xnor")
infer = _Public("qonnx.transformation", "infer_shapes", "infer_datatypes", "infer_data_layouts")
numbers = _Public("qonnx.transformation", "double_to_single_float", "lower_convs_to_matmul")


def _named(module: Any, *names: str) -> list[Transformation]:
    """Make those of the transformations that this FINN has."""
    return [getattr(module, name)() for name in names if hasattr(module, name)]


def _missing(what: str) -> str:
    return (
        f"this FINN has no {what}, which the steps of this folder need; README.md beside them names the versions that "
        "they were tried with"
    )


def _conversion(name: str, module: str) -> list[Transformation]:
    """Make a conversion to hardware: official FINN keeps all in one module, FINN+ each in its own."""
    return _named(_Public("finn.transformation.fpgadataflow", "convert_to_hw_layers", f"convert_to_hw.{module}"), name)


def _check_conversions() -> None:
    """See that this FINN has a conversion for every kind of layer, under one name or another.

    Raises:
        MissingTransformation: it has none of a kind; names what was looked for.
    """
    modules = dict(HARDWARE)
    for names in ONE_OF:
        if not any(_conversion(name, modules[name]) for name in names):
            raise MissingTransformation(_missing(" or ".join(names)))


def _structure(model: ModelWrapper) -> list[tuple[str, ...]]:
    return [(node.op_type, *node.input, *node.output) for node in model.graph.node]


def _apply(model: ModelWrapper, transformations: Iterable[Transformation]) -> ModelWrapper:
    """Apply in place, with qonnx's clean-up only where nodes changed: it takes most of the time in a deep network."""
    for transformation in transformations:
        before = _structure(model)
        model = model.transform(transformation, make_deepcopy=False, cleanup=False)
        if _structure(model) != before:
            model = model.cleanup()
    return model


def _tidy(model: ModelWrapper) -> ModelWrapper:
    """Names, shapes, types and layouts: the next transformation reads them."""
    for transformation in (
        general.SortGraph(),
        general.GiveUniqueNodeNames(),
        general.GiveReadableTensorNames(),
        infer.InferShapes(),
        infer.InferDataTypes(),
        infer.InferDataLayouts(),
    ):
        model = model.transform(transformation, make_deepcopy=False, cleanup=False)
    return model


def _until_stable(model: ModelWrapper, transformations: Callable[[], Iterable[Transformation]]) -> ModelWrapper:
    """Repeat a round until it leaves the graph as it was; each one lets the next go further."""
    model = _tidy(model)
    for _ in range(ROUNDS):
        before = _structure(model)
        model = _apply(model, transformations())
        if _structure(model) == before:
            return model
        model = _tidy(model)
        if _structure(model) == before:
            return model
    raise RuntimeError(f"the graph still changes after {ROUNDS} rounds of the same transformations")


def _streamlining() -> list[Transformation]:
    """One round: bring scales and offsets together, push them forward, absorb them into thresholds or into TopK."""
    return [
        absorb.AbsorbScalarMulAddIntoTopK(),
        general.ConvertSubToAdd(),
        general.ConvertDivToMul(),
        general.RemoveIdentityOps(atol=0.0),
        collapse_repeated.CollapseRepeatedMul(),
        general.BatchNormToAffine(),
        thresholds.ConvertSignToThres(),
        *_named(absorb, "AbsorbScalarBiasIntoMultiThreshold"),
        reorder.MoveAddPastMul(),
        reorder.MoveScalarAddPastMatMul(),
        reorder.MoveAddPastConv(),
        reorder.MoveScalarMulPastMatMul(),
        reorder.MoveScalarMulPastConv(),
        reorder.MoveScalarLinearPastInvariants(),
        reorder.MoveAddPastMul(),
        collapse_repeated.CollapseRepeatedAdd(),
        collapse_repeated.CollapseRepeatedMul(),
        absorb.AbsorbAddIntoMultiThreshold(),
        absorb.FactorOutMulSignMagnitude(),
        reorder.MoveMaxPoolPastMultiThreshold(),
        absorb.AbsorbMulIntoMultiThreshold(),
        absorb.Absorb1BitMulIntoMatMul(),
        absorb.Absorb1BitMulIntoConv(),
        own.MoveFlattenPastMultiThreshold(),
        reorder.MoveMulPastMaxPool(),
        own.MoveConstantsPastAddition(),
        reorder.MoveLinearPastFork(),
    ]


def _streamline(model: ModelWrapper) -> ModelWrapper:
    """Streamline in float64, until thresholds are rounded up to the integers they compare with."""
    model = _until_stable(_apply(model, [own.ParametersInDouble()]), _streamlining)
    rounded = [thresholds.RoundAndClipThresholds(), own.WholeThresholdsAsIntegers(), numbers.DoubleToSingleFloat()]
    return _tidy(_apply(model, rounded))


def _channels_last() -> list[Transformation]:
    """One round: drag the transposes that lowering left towards each other, where they cancel."""
    return [
        own.TransposeForkedMaxPool(),
        reorder.MakeMaxPoolNHWC(),
        reorder.MoveTransposePastFork(),
        *_named(reorder, "MoveTransposePastJoinAdd"),
        absorb.AbsorbTransposeIntoMultiThreshold(),
        absorb.AbsorbConsecutiveTransposes(),
        own.MoveTransposePastConstant(),
    ]


def step_exact_thresholds(model: ModelWrapper, cfg: Config) -> ModelWrapper:
    """Make every threshold decide as its quantizer does.

    First of all: the offset of a signed quantizer and its scale still follow directly.
    """
    first = [own.OneRowForAllChannels(), own.ConstantsOfFullRank()]
    return _tidy(_apply(model, [*first, own.SignedOffsets(), own.RoundHalfToEven()]))


def step_encode_signs(model: ModelWrapper, cfg: Config) -> ModelWrapper:
    """Give signs a code for zero where they need one. Before streamlining: paddings and forks are as in the network."""
    return _tidy(_apply(model, [reorder.MoveMulPastMaxPool(), own.MaxPoolOfCounts(), own.SignsAsIntegers()]))


def step_streamline_scales(model: ModelWrapper, cfg: Config) -> ModelWrapper:
    """Leave integers only. Before lowering: scales pass a convolution more easily than its matrix multiplication."""
    return _streamline(model)


def step_lower_convolutions(model: ModelWrapper, cfg: Config) -> ModelWrapper:
    """Write convolutions as matrix multiplications. Only now: nothing but integers is left around them."""
    return _tidy(_apply(model, [numbers.LowerConvsToMatMul()]))


def step_channels_last(model: ModelWrapper, cfg: Config) -> ModelWrapper:
    """Cancel the transposes of the lowered convolutions: hardware streams channels last."""
    return _until_stable(model, _channels_last)


def step_binary_matmuls(model: ModelWrapper, cfg: Config) -> ModelWrapper:
    """Count equal bits where both sides are signs. It leaves a scale and an offset, so streamlining follows."""
    return _streamline(_tidy(_apply(model, [general.ConvertBipolarMatMulToXnorPopcount()])))


def step_global_pool(model: ModelWrapper, cfg: Config) -> ModelWrapper:
    """Turn a global average into a sum; its 1/(H*W) moves past flatten and the last layer into TopK.

    Behind all streamlining, which knows the average only. The last graph before hardware: FINN's verification of the
    streamlined one runs here.
    """
    model = _tidy(_apply(model, _conversion("InferGlobalAccPoolLayer", "global_acc_pool")))
    model = _until_stable(
        model,
        lambda: [
            absorb.AbsorbConsecutiveTransposes(),
            reorder.MoveScalarLinearPastInvariants(),
            absorb.AbsorbTransposeIntoFlatten(),
            reorder.MoveScalarMulPastMatMul(),
            absorb.AbsorbScalarMulAddIntoTopK(),
        ],
    )
    if VerificationStepType.STREAMLINED_PYTHON in cfg._resolve_verification_steps():
        verify_step(model, cfg, "streamlined_python", need_parent=False)
    return model


def step_convert_to_hardware(model: ModelWrapper, cfg: Config) -> ModelWrapper:
    """Turn every node into a hardware layer; forks last, when no layer takes its successor in any more."""
    _check_conversions()
    offsets = own.KeepOffsets(model)
    if cfg.standalone_thresholds:
        model = _apply(model, _conversion("InferThresholdingLayer", "thresholding"))
    for name, module in HARDWARE:
        model = _apply(model, [*_conversion(name, module), absorb.AbsorbConsecutiveTransposes()])
    return _tidy(_apply(model, [offsets, reshape.RemoveCNVtoFCFlatten(), general.RemoveUnusedTensors()]))


OWN_STEPS: tuple[Step, ...] = (
    step_exact_thresholds,
    step_encode_signs,
    step_streamline_scales,
    step_lower_convolutions,
    step_channels_last,
    step_binary_matmuls,
    step_global_pool,
    step_convert_to_hardware,
)
EXACT_FROM = "step_streamline_scales"  # before it, float32 may round a value between two quantizers either way


def _complete(order: Sequence[str]) -> tuple[str | Step, ...]:
    """FINN's own order with our steps in place of its streamlining and its conversion to hardware."""
    start, replaced = order.index("step_streamline"), ("step_streamline", "step_convert_to_hw")
    return (*order[:start], *OWN_STEPS, *(name for name in order[start:] if name not in replaced))


ESTIMATE_STEPS = _complete(estimate_only_dataflow_steps)
BUILD_STEPS = _complete(default_build_dataflow_steps)

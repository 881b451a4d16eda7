"""QONNX's operators on random attributes: what qonnx' own Python models compute, or refused with a reason."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

from qtrain.export.errors import ProofError
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.finn_operators import FINN_OPERATORS
from tests.export.execute.test_execute import QONNX_V2, one_node

MODES = ["ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]
LAYOUTS = [
    ((1, 6), ""),
    ((1, 6), "NC"),
    ((1, 6, 5, 2), ""),
    ((1, 6, 5, 2), "NCHW"),
    ((1, 5, 2, 6), "NHWC"),
    ((1, 4, 6), ""),
    ((1, 6, 4), "NCW"),
    ((1, 4, 6), "NWC"),
    ((1, 4, 5), ""),  # six rows of thresholds do not fit
    ((1, 3, 2, 2), "NCHW"),
]
SHAPES = [(1, 6), (1, 6, 5), (1, 6, 3, 2)]


def agree(model: ModelWrapper, x: np.ndarray) -> bool:
    """Compare with qonnx; False where ours refuses or qonnx cannot."""
    try:
        ours = Executor(model, FINN_OPERATORS)(torch.from_numpy(x))["y"].numpy()
    except ProofError:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = execute_onnx(model, {"x": x})["y"]
    np.testing.assert_array_equal(ours, theirs)
    return True


def steps(shape: tuple[int, ...], seed: int, most: int = 600) -> np.ndarray:
    """Multiples of a quarter step: ties and boundaries are hit, and float32 is exact."""
    return (np.random.default_rng(seed).integers(-most, most, shape) / 4).astype(np.float32)


def of_channels(shape: tuple[int, ...], per_channel: bool, values: list[float]) -> np.ndarray:
    """One value, or one for each of six channels."""
    return np.array(values[:6]).reshape(1, 6, *[1] * (len(shape) - 2)) if per_channel else np.array(values[0])


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(["Quant", "IntQuant"]),
    shape=st.sampled_from(SHAPES),
    bits=st.integers(1, 9),
    attributes=st.fixed_dictionaries(
        {}, optional={"signed": st.integers(0, 1), "narrow": st.integers(0, 1), "rounding_mode": st.sampled_from(MODES)}
    ),
    exponents=st.lists(st.integers(-5, 2), min_size=6, max_size=6),
    zero_points=st.lists(st.integers(-3, 3), min_size=6, max_size=6),
    channels=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 1000),
)
def test_quant(name, shape, bits, attributes, exponents, zero_points, channels, seed) -> None:
    # qonnx asks for signed and narrow; a node without them has the defaults of its specification.
    attributes = {"signed": 1, "narrow": 1} | attributes
    scale = of_channels(shape, channels[0], [2.0**e for e in exponents])
    zero = of_channels(shape, channels[1], zero_points)
    model = one_node(name, shape, {"s": scale, "z": zero, "b": float(bits)}, "qonnx.custom_op.general", **attributes)
    assert agree(model, (steps(shape, seed) * scale).astype(np.float32))


@settings(max_examples=50, deadline=None)
@given(shape=st.sampled_from(SHAPES), per_channel=st.booleans(), seed=st.integers(0, 1000))
def test_bipolar_quant(shape, per_channel, seed) -> None:
    scale = of_channels(shape, per_channel, [0.5, -1.0, 2.0, 0.25, 1.0, 4.0])
    model = one_node("BipolarQuant", shape, {"s": scale}, "qonnx.custom_op.general")
    assert agree(model, steps(shape, seed, most=4))


@settings(max_examples=150, deadline=None)
@given(
    version=st.sampled_from([1, 2]),
    in_bits=st.integers(2, 12),
    out_bits=st.integers(1, 8),
    drop=st.integers(0, 4),
    zero=st.integers(-2, 2),
    attributes=st.fixed_dictionaries({}, optional={"rounding_mode": st.sampled_from(MODES)}),
    more=st.fixed_dictionaries({}, optional={"signed": st.integers(0, 1), "narrow": st.integers(0, 1)}),
    seed=st.integers(0, 1000),
)
def test_trunc(version, in_bits, out_bits, drop, zero, attributes, more, seed) -> None:
    parameters = {"s": 0.25, "z": float(zero), "i": float(in_bits), "t": 0.25 * 2**drop, "o": float(out_bits)}
    if version == 1:
        del parameters["t"]
    # qonnx asks for the rounding mode, whose default is FLOOR.
    attributes = {"rounding_mode": "FLOOR"} | attributes | (more if version == 2 else {})
    model = one_node("Trunc", (1, 40), parameters, QONNX_V2, **attributes)
    model.model.opset_import.append(helper.make_opsetid(QONNX_V2, version))
    assert agree(model, steps((1, 40), seed, most=4000))


def test_trunc_without_a_rounding_mode_rounds_down_as_specified() -> None:
    parameters = {"s": 1.0, "z": 0.0, "i": 4.0, "o": 2.0}
    model = one_node("Trunc", (1, 4), parameters, "qonnx.custom_op.general")
    assert Executor(model)(torch.tensor([[3.0, 7.0, -1.0, 6.0]]))["y"].tolist() == [[0.0, 1.0, -1.0, 1.0]]


@settings(max_examples=150, deadline=None)
@given(
    case=st.sampled_from(LAYOUTS),
    rows=st.sampled_from([1, 6]),
    count=st.integers(1, 16),
    output=st.fixed_dictionaries(
        {},
        optional={"out_scale": st.sampled_from([1.0, 2.0, 0.5, -1.0]), "out_bias": st.sampled_from([0.0, -1.0, 3.0])},
    ),
    seed=st.integers(0, 1000),
)
def test_multi_threshold(case, rows, count, output, seed) -> None:
    shape, layout = case
    thresholds = steps((rows, count), seed, most=40)
    attributes = {"out_dtype": "INT8", **output} | ({"data_layout": layout} if layout else {})
    model = one_node("MultiThreshold", shape, {"t": thresholds}, "qonnx.custom_op.general", **attributes)
    fits = rows == 1 or 6 in shape
    assert agree(model, steps(shape, seed + 1, most=60)) or not fits


def test_thresholds_for_other_channels_than_there_are_are_refused() -> None:
    model = one_node("MultiThreshold", (1, 12), {"t": np.zeros((6, 2))}, "qonnx.custom_op.general", out_dtype="INT8")
    with pytest.raises(ProofError, match="thresholds for 6 channels, its input has 12"):
        Executor(model, FINN_OPERATORS)(torch.zeros(1, 12))

"""Our float64 executor agrees with qonnx's own, operator by operator."""

import numpy as np
import onnx.helper as oh
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.basic import qonnx_make_model
from torch.nn import functional as F

from qtrain.export.errors import ProofError
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.operators import TIE, top1

QONNX_V2 = "qonnx.custom_op.general"


def one_node(op: str, shape: tuple[int, ...], parameters: dict[str, np.ndarray], domain: str = "", **attributes):
    node = oh.make_node(op, ["x", *parameters], ["y"], name=op, domain=domain, **attributes)
    graph = oh.make_graph(
        [node],
        "g",
        [oh.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [oh.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = ModelWrapper(qonnx_make_model(graph, opset_imports=[oh.make_opsetid("", 13)]))
    for name, value in parameters.items():
        model.set_initializer(name, np.asarray(value, dtype=np.float32))
    return model


def both(model: ModelWrapper, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ours = Executor(model)(torch.from_numpy(x))["y"].numpy()
    theirs = execute_onnx(model, {"x": x})["y"]
    return ours, theirs


@settings(max_examples=150, deadline=None)
@given(
    bits=st.integers(1, 8),
    signed=st.booleans(),
    narrow=st.booleans(),
    exponent=st.integers(-6, 1),
    zero_point=st.integers(-3, 3),
    mode=st.sampled_from(["ROUND", "FLOOR", "CEIL", "DOWN", "HALF_EVEN"]),
    seed=st.integers(0, 1000),
)
def test_quant_equals_qonnx(bits, signed, narrow, exponent, zero_point, mode, seed) -> None:
    parameters = {"scale": 2.0**exponent, "zero": float(zero_point), "bits": float(bits)}
    model = one_node(
        "Quant",
        (1, 50),
        parameters,
        "qonnx.custom_op.general",
        signed=int(signed),
        narrow=int(narrow),
        rounding_mode=mode,
    )
    # Multiples of a quarter step: ties and boundaries are hit, and float32 is exact.
    steps = np.random.default_rng(seed).integers(-1200, 1200, (1, 50)) / 4
    ours, theirs = both(model, (steps * 2.0**exponent).astype(np.float32))
    np.testing.assert_array_equal(ours, theirs)


def test_bipolar_quant_equals_qonnx_at_zero_too() -> None:
    x = np.array([[-1.5, -0.0, 0.0, 2.0]], dtype=np.float32)
    ours, theirs = both(one_node("BipolarQuant", (1, 4), {"scale": 0.5}, "qonnx.custom_op.general"), x)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 1, 1, 1]},
        {"pads": [0, 1, 2, 1]},
        {"strides": [2, 1]},
        {"dilations": [2, 2]},
        {"group": 2},
        {"auto_pad": "VALID"},
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    ],
)
def test_convolution_equals_qonnx(attributes: dict) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 4, (4, 4 // attributes.get("group", 1), 3, 3))
    model = one_node("Conv", (1, 4, 9, 8), {"w": weight, "b": np.arange(4)}, **attributes)
    ours, theirs = both(model, rng.integers(-9, 9, (1, 4, 9, 8)).astype(np.float32))
    np.testing.assert_array_equal(ours, theirs)


def test_same_padding_of_a_dilated_convolution_equals_torch() -> None:  # onnxruntime has none
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((2, 3, 3, 3)), torch.from_numpy(rng.standard_normal((2, 3, 8, 9)))
    model = one_node("Conv", (1, 3, 8, 9), {"w": weight}, auto_pad="SAME_UPPER", dilations=[2, 1])
    expected = F.conv2d(x, torch.from_numpy(weight.astype(np.float32)).double(), padding="same", dilation=(2, 1))
    torch.testing.assert_close(Executor(model)(x)["y"], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [[6, -1], [1, 24], [0, 12], [2, 3, 4]])
def test_a_constant_is_reshaped_as_it_stands(shape: list[int]) -> None:
    weight = np.arange(24.0).reshape(2, 12)
    model = one_node("Reshape", weight.shape, {"shape": np.zeros(len(shape))})
    model.set_initializer("shape", np.array(shape, dtype=np.int64))
    theirs = execute_onnx(model, {"x": weight.astype(np.float32)})["y"]
    model.set_initializer("x", weight.astype(np.float32))
    np.testing.assert_array_equal(Executor(model).constants["y"].numpy(), theirs)


def test_a_reshaped_batch_keeps_its_images() -> None:
    model = one_node("Reshape", (1, 24), {"shape": np.zeros(3)})
    model.set_initializer("shape", np.array([1, 4, 6], dtype=np.int64))
    x = torch.arange(120.0).reshape(5, 24)
    assert torch.equal(Executor(model)(x)["y"], x.double().reshape(5, 4, 6))


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2]},
        {"strides": [1, 2], "pads": [1, 0, 0, 1]},
        {"strides": [2, 2], "ceil_mode": 1},
        {"strides": [1, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 1], "auto_pad": "SAME_LOWER"},
    ],
)
def test_max_pool_equals_qonnx(attributes: dict) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 9, 9)).astype(np.float32)
    ours, theirs = both(one_node("MaxPool", x.shape, {}, kernel_shape=[2, 2], **attributes), x)
    np.testing.assert_array_equal(ours, theirs)


def test_batch_norm_and_gemm_equal_qonnx() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 5)).astype(np.float32)
    vectors = {n: rng.standard_normal(5) for n in ("scale", "bias", "mean")} | {"var": rng.random(5) + 0.1}
    np.testing.assert_allclose(*both(one_node("BatchNormalization", (1, 5), vectors, epsilon=1e-3), x), rtol=1e-5)
    gemm = {"w": rng.standard_normal((4, 5)), "c": rng.standard_normal(4)}
    model = one_node("Gemm", (1, 5), gemm, transB=1, alpha=0.5, beta=2.0)
    np.testing.assert_allclose(*both(model, x), rtol=1e-5, atol=1e-6)


def test_a_batch_gives_what_single_images_give() -> None:
    rng = np.random.default_rng(0)
    model = one_node("Conv", (1, 2, 5, 5), {"w": rng.standard_normal((3, 2, 3, 3))})
    x = torch.from_numpy(rng.standard_normal((6, 2, 5, 5)))
    run = Executor(model)
    torch.testing.assert_close(run(x)["y"], torch.cat([run(x[i : i + 1])["y"] for i in range(6)]), rtol=0, atol=1e-14)


def test_equal_logits_give_the_lower_class_even_with_rounding_noise() -> None:
    third = 1 / 3
    rows = [[0.0, 3 * third, 1.0 + 1e-15], [2.0, 1.0, 2.0 + 10 * TIE], [5.0, 5.0, 4.0]]
    logits = torch.tensor(rows, dtype=torch.float64)
    assert top1(logits).flatten().tolist() == [1, 2, 0]


def test_an_operator_it_cannot_execute_is_named() -> None:
    with pytest.raises(ProofError, match="'Softsign': cannot execute operator 'Softsign'"):
        Executor(one_node("Softsign", (1, 3), {}))


def test_shapes_that_do_not_fit_are_told_with_the_node() -> None:
    model = one_node("Reshape", (1, 6), {"shape": np.zeros(2)})
    model.set_initializer("shape", np.array([1, 4], dtype=np.int64))
    with pytest.raises(ProofError, match="'Reshape': cannot execute this Reshape: shape"):
        Executor(model)(torch.ones(2, 6))


@settings(max_examples=60, deadline=None)
@given(
    in_bits=st.integers(5, 12),
    out_bits=st.integers(2, 8),
    drop=st.integers(0, 4),
    signed=st.booleans(),
    mode=st.sampled_from(["FLOOR", "ROUND", "CEIL"]),
    seed=st.integers(0, 1000),
)
def test_trunc_equals_qonnx(in_bits, out_bits, drop, signed, mode, seed) -> None:
    parameters = {"scale": 0.25, "zero": 0.0, "in": float(in_bits), "out_scale": 0.25 * 2**drop, "out": float(out_bits)}
    model = one_node("Trunc", (1, 40), parameters, QONNX_V2, signed=int(signed), narrow=0, rounding_mode=mode)
    model.model.opset_import.append(oh.make_opsetid(QONNX_V2, 2))
    low = -(2 ** (in_bits - 1)) if signed else 0
    x = np.random.default_rng(seed).integers(low, low + 2**in_bits, (1, 40)).astype(np.float32) * np.float32(0.25)
    ours, theirs = both(model, x)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
def test_average_pool_equals_onnxruntime(include: int, pads: list[int]) -> None:
    attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": pads, "count_include_pad": include}
    model = one_node("AveragePool", (1, 2, 7, 7), {}, **attributes)
    ours, theirs = both(model, np.random.default_rng(0).normal(size=(1, 2, 7, 7)).astype(np.float32))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_pad_clip_and_concat_equal_onnxruntime() -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)
    pad = one_node("Pad", x.shape, {"pads": np.zeros(8)})
    pad.set_initializer("pads", np.array([0, 1, 2, 0, 0, 3, 0, 1], dtype=np.int64))
    models = [pad, one_node("Clip", x.shape, {"low": -0.5, "high": 1.0})]
    models.append(one_node("Concat", x.shape, {"more": np.ones((1, 3, 4, 4))}, axis=1))
    for model in models:
        ours, theirs = both(model, x)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)

"""Convolutions on the integer grid equal float64 where they are used, and are not used where float32 is too small."""

import numpy as np
import onnx.helper as oh
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import qonnx_make_model

import qtrain.export.execute.executor as execute
from qtrain.export.execute.executor import Executor

DOMAIN = "qonnx.custom_op.general"


def quantized(op: str, x_bits: int, w_bits: int, scales: tuple, fan_in: int, zero_point: float = 0.0) -> ModelWrapper:
    """x -> Quant -> (pool for a Conv) -> op with a quantized weight -> y."""
    shape = (1, fan_in, 6, 6) if op == "Conv" else (1, fan_in)
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, fan_in, 2, 2) if op == "Conv" else (fan_in, 4))
    kind = {"domain": DOMAIN, "signed": 1, "narrow": 1, "rounding_mode": "ROUND"}
    nodes = [
        oh.make_node("Quant", ["x", "xs", "z", "xb"], ["xq"], name="xq", **kind),
        oh.make_node("Quant", ["w", "ws", "zero", "wb"], ["wq"], name="wq", **kind),
    ]
    if op == "Conv":
        nodes.append(oh.make_node("MaxPool", ["xq"], ["xp"], name="pool", kernel_shape=[2, 2], strides=[1, 1]))
    nodes.append(oh.make_node(op, ["xp" if op == "Conv" else "xq", "wq"], ["y"], name="op"))
    y = oh.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = oh.make_graph(nodes, "g", [oh.make_tensor_value_info("x", TensorProto.FLOAT, shape)], [y])
    model = ModelWrapper(qonnx_make_model(graph, opset_imports=[oh.make_opsetid("", 13)]))
    constants = {
        "w": weight,
        "xs": scales[0],
        "ws": scales[1],
        "z": zero_point,
        "zero": 0.0,
        "xb": x_bits,
        "wb": w_bits,
    }
    for name, value in constants.items():
        model.set_initializer(name, np.asarray(value, dtype=np.float32))
    return model


def runs_on_the_grid(model: ModelWrapper) -> bool:
    return Executor(model)._nodes[-1].takes_steps


@settings(max_examples=40, deadline=None)
@given(
    op=st.sampled_from(["Conv", "MatMul"]),
    bits=st.tuples(st.integers(2, 8), st.integers(2, 8)),
    scales=st.tuples(st.floats(2**-8, 1), st.floats(2**-8, 1)),
    seed=st.integers(0, 99),
)
def test_the_grid_gives_what_float64_gives(op: str, bits: tuple, scales: tuple, seed: int) -> None:
    model = quantized(op, *bits, scales, fan_in=20)
    assert runs_on_the_grid(model)
    shape = (5, 20, 6, 6) if op == "Conv" else (5, 20)
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))
    on_grid = Executor(model)(x)["y"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "on_steps", lambda *_: None)
        assert not runs_on_the_grid(model)
        in_float64 = Executor(model)(x)["y"]
    assert on_grid.dtype == torch.float64
    torch.testing.assert_close(on_grid, in_float64, rtol=1e-12, atol=1e-12)


def test_equal_integer_sums_give_equal_values() -> None:
    model = quantized("MatMul", 4, 4, (1 / 3, 1 / 7), fan_in=6)
    weight = np.array([[3, 1, 1, 0]] * 3 + [[-1, 1, 0, 0]] * 3, dtype=np.float32) / 7
    model.set_initializer("w", weight)  # sums 6, 6, 3, 0 for an input of ones
    model.set_initializer("ws", np.float32(1 / 7))
    y = Executor(model)(torch.full((1, 6), 1 / 3, dtype=torch.float64))["y"].flatten()
    assert y[0] == y[1] != y[2]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(quantized("MatMul", 16, 16, (0.0001, 0.0001), fan_in=3000), id="sums beyond 2**24 in halves too"),
        pytest.param(quantized("MatMul", 4, 4, (0.1, 0.1), fan_in=8, zero_point=1.0), id="a zero point"),
        pytest.param(quantized("MatMul", 4, 4, (np.full((1, 8), 0.1), 0.1), fan_in=8), id="a scale for each channel"),
    ],
)
def test_what_is_not_exact_there_stays_in_float64(model: ModelWrapper) -> None:
    assert not runs_on_the_grid(model)

"""Tensors in whole steps between quantizers and products: every value is the plain path's, to the bit."""

import numpy as np
import onnx.helper as oh
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import qonnx_make_model
from torch import Tensor

import qtrain.export.execute.executor as execute
from qtrain.export.execute.executor import Executor

KIND = {"domain": "qonnx.custom_op.general", "rounding_mode": "ROUND"}


def network(x_bits: int, w_bits: int, channels: int, seed: int, signed: int, group: int = 1) -> ModelWrapper:
    """x -> Quant -> Conv -> BatchNormalization -> Relu -> Quant -> MaxPool -> Flatten -> MatMul -> y."""
    rng = np.random.default_rng(seed)
    value = oh.make_tensor_value_info
    nodes = [
        oh.make_node("Quant", ["x", "xs", "zero", "xb"], ["xq"], signed=1, narrow=0, **KIND),
        oh.make_node("Quant", ["w", "ws", "zero", "wb"], ["wq"], signed=1, narrow=1, **KIND),
        oh.make_node("Conv", ["xq", "wq"], ["c"], pads=[1, 1, 1, 1], group=group),
        oh.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
        oh.make_node("Relu" if not signed else "Identity", ["n"], ["r"]),
        oh.make_node("Quant", ["r", "as", "zero", "xb"], ["a"], signed=signed, narrow=0, **KIND),
        oh.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        oh.make_node("Flatten", ["p"], ["f"], axis=1),
        oh.make_node("Quant", ["w2", "ws", "zero", "wb"], ["wq2"], signed=1, narrow=1, **KIND),
        oh.make_node("MatMul", ["f", "wq2"], ["y"]),
    ]
    shape = (1, channels, 6, 6)
    graph = oh.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, None)])
    model = ModelWrapper(qonnx_make_model(graph, opset_imports=[oh.make_opsetid("", 13)]))
    constants = {
        "w": rng.standard_normal((8, channels // group, 3, 3)),
        "w2": rng.standard_normal((72, 5)),
        "g": rng.standard_normal(8),
        "b": rng.standard_normal(8),
        "m": rng.standard_normal(8),
        "v": rng.random(8) + 0.5,
        "xs": 3.0 / 2**x_bits,
        "as": 5.0 / 2**x_bits,
        "ws": 3.0 / 2**w_bits,
        "zero": 0.0,
        "xb": x_bits,
        "wb": w_bits,
    }
    for name, constant in constants.items():
        model.set_initializer(name, np.asarray(constant, dtype=np.float32))
    return model


def plain(model: ModelWrapper, x: Tensor, names: list[str]) -> dict[str, Tensor]:
    """Every tensor as operators on values give it; products on whole numbers, in float64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "on_steps", lambda *_: None)
        executor = Executor(model)
        assert not any(step.takes_steps for step in executor._nodes)
        return executor(x, keep=names)


@settings(max_examples=40, deadline=None)
@given(
    bits=st.tuples(st.integers(2, 8), st.integers(2, 8)),
    channels=st.sampled_from([2, 4, 64]),
    signed=st.integers(0, 1),
    grouped=st.booleans(),
    images=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 999),
)
def test_quantizers_give_the_plain_values(
    bits: tuple, channels: int, signed: int, grouped: bool, images: int, seed: int
) -> None:
    model = network(*bits, channels, seed, signed, group=2 if grouped else 1)
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((images, channels, 6, 6)) * 3)
    names = ["xq", "a", "p", "f"]
    executor = Executor(model)
    assert sum(step.takes_steps for step in executor._nodes) == 6
    found = executor(x, keep=[*names, "c"])
    expected = plain(model, x, [*names, "c"])
    assert torch.equal(found["xq"], expected["xq"])
    torch.testing.assert_close(found["c"], expected["c"], rtol=1e-13, atol=1e-13)
    # From exact sums on, the quantizers' levels are the plain ones; rounding could part them at a boundary alone.
    for name in names:
        assert found[name].dtype == torch.float64
        assert torch.equal(found[name], expected[name]), name


def whole_sums(x: Tensor, weight: Tensor) -> Tensor:
    return torch.nn.functional.conv2d(x, weight, padding=1)


@pytest.mark.parametrize("fan_in", [2, 600])
def test_a_convolution_is_its_whole_sums_times_both_scales_to_the_bit(fan_in: int) -> None:
    """With 600 channels at 8 bits its sums pass 2**24."""
    model = network(8, 8, fan_in, 3, 1)
    weight = np.full((8, fan_in, 3, 3), 127 * 3 / 2**8, dtype=np.float32)
    weight[3:] *= -1
    model.set_initializer("w", weight)
    x = torch.full((2, fan_in, 6, 6), 100.0, dtype=torch.float64)
    x[1] = -100.0
    found = Executor(model)(x, keep=["c", "xq"])
    x_scale = float(np.float32(3 / 2**8))
    steps = (found["xq"] / x_scale).round()
    sums = whole_sums(steps, torch.from_numpy((weight / np.float32(3 / 2**8)).round()).double())
    assert (sums.abs().max() >= 2**24) == (fan_in == 600)
    assert torch.equal(found["c"], sums * (x_scale * x_scale))


def test_another_device_computes_every_node() -> None:
    """torch's meta device computes shapes alone, and refuses a node whose tensors lie on two devices."""
    executor = Executor(network(8, 8, 600, 3, 1), device=torch.device("meta"))
    with pytest.raises(NotImplementedError, match="meta tensor"):  # bringing what it computed back to the CPU
        executor(torch.zeros(2, 600, 6, 6))
    assert executor.largest == 600 * 6 * 6


def test_a_batch_gives_each_image_the_values_that_it_has_alone() -> None:
    model = network(4, 4, 4, 0, 0)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((7, 4, 6, 6)))
    executor = Executor(model)
    together = torch.cat([out["y"] for out in executor.batches(x)])
    alone = torch.cat([Executor(model)(image[None])["y"] for image in x])
    assert torch.equal(together, alone)
    assert executor.largest == 8 * 6 * 6

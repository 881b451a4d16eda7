"""The operators inside FINN on torch tensors: as qonnx executes them, and hardware as its plain definition."""

from collections.abc import Callable

import numpy as np
import onnx.helper as oh
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.basic import qonnx_make_model
from torch.nn import functional as F

from qtrain.export.errors import ProofError
from qtrain.export.execute import finn_operators
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.finn_operators import FINN_OPERATORS, count_reached, integer_product

DOMAIN = "qonnx.custom_op.general"


def graph_of(op: str, x: np.ndarray, out: tuple[int, ...] | None, kind: str, constants: dict[str, np.ndarray], **a):
    """A graph of one node of qonnx's."""
    inputs = [oh.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    outputs = [oh.make_tensor_value_info("y", TensorProto.FLOAT, out)]
    node = oh.make_node(op, ["x", *constants], ["y"], name=op, domain=DOMAIN, **a)
    model = ModelWrapper(qonnx_make_model(oh.make_graph([node], "g", inputs, outputs)))
    for name, value in constants.items():
        model.set_initializer(name, value.astype(np.float32))
    model.set_tensor_datatype("x", DataType[kind])
    return model


def check(model: ModelWrapper, x: np.ndarray) -> None:
    """Ours and qonnx's answers are equal, value by value."""
    ours = Executor(model, FINN_OPERATORS)(torch.from_numpy(x))["y"].numpy()
    theirs = execute_onnx(model, {"x": x})["y"]
    assert ours.shape == theirs.shape
    assert (ours == theirs).all()


def integers(seed: int, shape: tuple[int, ...], low: int = -7, high: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    layout=st.sampled_from([("NCHW", 1), ("NHWC", 3), ("NC", 1)]),
    steps=st.sampled_from([1, 3, 15, 255]),
    each=st.booleans(),
    scale=st.sampled_from([1.0, 0.5, 2.0]),
    bias=st.sampled_from([0.0, -8.0, 0.25]),
    seed=st.integers(0, 1000),
)
def test_thresholds_count_as_qonnx_counts(
    layout: tuple[str, int], steps: int, each: bool, scale: float, bias: float, seed: int
) -> None:
    name, axis = layout
    shape = (1, 4) if name == "NC" else (1, 3, 5, 4) if name == "NHWC" else (1, 4, 3, 5)
    rng = np.random.default_rng(seed)
    thresholds = np.sort(rng.integers(-20, 20, (4 if each else 1, steps)), axis=1)  # ties with the values are frequent
    x = rng.integers(-25, 25, shape).astype(np.float32)
    assert shape[axis] == 4
    options = {"out_dtype": "INT8", "data_layout": name, "out_scale": scale, "out_bias": bias}
    check(graph_of("MultiThreshold", x, shape, "INT8", {"t": thresholds}, **options), x)


def test_the_order_of_thresholds_does_not_matter() -> None:
    x, thresholds = torch.tensor([[0.0, 5.0]]).double(), torch.tensor([[3.0, -1.0, 1.0]])
    assert count_reached(x, thresholds, 1).tolist() == [[1.0, 3.0]]


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    dilation=st.integers(1, 2),
    pads=st.lists(st.integers(0, 1), min_size=4, max_size=4),
    seed=st.integers(0, 1000),
)
def test_windows_are_those_of_qonnx(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: int, pads: list[int], seed: int
) -> None:
    x = integers(seed, (1, 7, 8, 3))
    size = [
        (x.shape[i + 1] + pads[i] + pads[i + 2] - dilation * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)
    ]
    a = {"kernel_size": list(kernel), "stride": list(stride), "dilations": [dilation] * 2, "pad_amount": pads}
    a |= {"input_shape": "(1,7,8,3)"}
    check(graph_of("Im2Col", x, (1, *size, 3 * kernel[0] * kernel[1]), "INT4", {}, **a), x)


@pytest.mark.parametrize("seed", range(3))
def test_equal_bits_are_counted_as_qonnx_counts(seed: int) -> None:
    x, weight = integers(seed, (5, 12), 0, 2), integers(seed + 9, (12, 7), 0, 2)
    model = graph_of("XnorPopcountMatMul", x, (5, 7), "BINARY", {"w": weight})
    model.set_tensor_datatype("w", DataType["BINARY"])
    check(model, x)


@pytest.mark.parametrize(("pads", "strides"), [([0, 0, 0, 0], [2, 2]), ([1, 1, 0, 0], [1, 1])])
def test_channels_last_pools_are_those_of_qonnx(pads: list[int], strides: list[int]) -> None:
    x = integers(1, (1, 6, 6, 2))
    size = [(6 + pads[i] + pads[i + 2] - 2) // strides[i] + 1 for i in range(2)]
    a = {"kernel_shape": [2, 2], "pads": pads, "strides": strides, "ceil_mode": 0}
    check(graph_of("MaxPoolNHWC", x, (1, *size, 2), "INT4", {}, **a), x)


def run(op: str, x: np.ndarray, *constants: np.ndarray, **attributes: object) -> np.ndarray:
    tensors = [torch.from_numpy(np.asarray(c, dtype=np.float64)) for c in (x, *constants)]
    out = FINN_OPERATORS[op](attributes, *tensors)
    assert isinstance(out, torch.Tensor)
    return out.numpy()


def test_a_matrix_unit_multiplies_and_counts_thresholds() -> None:
    x, weight = integers(0, (4, 6)), integers(1, (6, 3))
    thresholds = np.sort(integers(2, (3, 7), -60, 60), axis=1)
    sums = x @ weight
    counts = (sums[..., None] >= thresholds).sum(-1)
    shape = {"MW": 6, "MH": 3, "numInputVectors": [1]}
    assert (run("MVAU", x, weight, noActivation=1, **shape) == sums).all()
    kinds = {"inputDataType": b"INT4", "weightDataType": b"INT4", "outputDataType": b"INT3"}
    assert (run("MVAU", x, weight, thresholds, ActVal=-4, **kinds, **shape) == counts - 4).all()
    signs = {**kinds, "outputDataType": b"BIPOLAR"}
    one = run("MVAU", x, weight, thresholds[:, :1], **signs, **shape)
    assert (one == np.where(sums >= thresholds[:, 0], 1, -1)).all()


@pytest.mark.parametrize("mode", ["binaryXnorMode", "bipolar"])
def test_a_matrix_unit_of_signs_counts_equal_ones(mode: str) -> None:
    x, weight = integers(0, (4, 6), 0, 2), integers(1, (6, 3), 0, 2)
    equal = (x[:, :, None] == weight[None]).sum(1)
    shape = {"MW": 6, "numInputVectors": [1], "noActivation": 1}
    if mode == "bipolar":
        kinds = {"inputDataType": b"BIPOLAR", "weightDataType": b"BIPOLAR"}
        assert (run("MVAU", 2 * x - 1, 2 * weight - 1, **kinds, **shape) == equal).all()
    else:
        assert (run("MVAU", x, weight, binaryXnorMode=1, **shape) == equal).all()


def test_a_vector_unit_is_a_depthwise_convolution() -> None:
    images, weight = integers(0, (2, 5, 5, 4)), integers(1, (4, 1, 3, 3))
    windows = run("ConvolutionInputGenerator", images, ConvKernelDim=[3, 3], Stride=[1, 1], Dilation=[1, 1])
    out = run("VVAU", windows, weight, Kernel=[3, 3], Channels=4, noActivation=1)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(weight), groups=4
    )
    assert (out == expected.permute(0, 2, 3, 1).numpy()).all()


@pytest.mark.parametrize(
    ("kind", "of"),
    [("MaxPool", lambda w: w.max(3)), ("AccPool", lambda w: w.sum(3)), ("AvgPool", lambda w: w.mean(3))],
)
def test_a_pool_reduces_each_window(kind: str, of: Callable[[np.ndarray], np.ndarray]) -> None:
    windows = integers(0, (2, 3, 3, 4 * 5))
    out = run("Pool", windows, KernelSize=[2, 2], Channels=5, Function=kind.encode())
    assert (out == of(windows.reshape(2, 3, 3, 4, 5))).all()


def test_a_truncating_pool_drops_the_low_bits_of_the_sum() -> None:
    windows = integers(0, (1, 2, 2, 4), 0, 16)
    kinds = {"InputDataType": b"UINT4", "OutputDataType": b"UINT4"}
    out = run("Pool", windows, KernelSize=[2, 2], Channels=1, Function=b"QuantAvgPool", **kinds)
    assert (out == windows.sum(3, keepdims=True) // 4).all()  # sums of four have 6 bits, two of them go


def test_sums_that_float32_cannot_hold_stay_exact() -> None:
    x, weight = torch.tensor([[2.0**24, 1.0]]).double(), torch.tensor([[1.0], [1.0]]).double()
    assert integer_product(x, weight).item() == 2**24 + 1


@settings(max_examples=60, deadline=None)
@given(
    channels=st.sampled_from([1, 3]),
    steps=st.sampled_from([1, 3, 15, 31, 32, 63]),
    axis=st.sampled_from([1, -1]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 99),
)
def test_comparing_and_searching_count_the_same_thresholds(
    channels: int, steps: int, axis: int, dtype: torch.dtype, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    thresholds = torch.randint(-20, 20, (channels, steps), generator=draw).double() / 2
    shape = (2, 3, 5, 3)
    x = torch.randint(-25, 25, shape, generator=draw).to(dtype) / 2  # on thresholds and between them
    x[0, 0, 0] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    compared = finn_operators._compared(x, thresholds.to(dtype), axis)
    searched = finn_operators._searched(x, thresholds, axis)
    assert compared.dtype == searched.dtype == dtype
    assert torch.equal(compared, searched)
    assert torch.equal(finn_operators.count_reached(x, thresholds, axis), searched)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
@pytest.mark.parametrize("dilation", [(1, 1), (1, 2)])
@pytest.mark.parametrize("turned", [False, True])
def test_windows_are_those_of_unfold(kernel: tuple, stride: tuple, dilation: tuple, turned: bool) -> None:
    x = torch.arange(2 * 7 * 8 * 3, dtype=torch.float64).reshape(2, 7, 8, 3)
    if turned:  # as a transpose leaves it
        x = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    found = finn_operators._windows(x, list(kernel), list(stride), list(dilation))
    columns = F.unfold(x.permute(0, 3, 1, 2), kernel, dilation=dilation, stride=stride)
    expected = columns.view(2, 3, kernel[0] * kernel[1], *found.shape[1:3]).permute(0, 3, 4, 2, 1)
    assert torch.equal(found, expected.reshape(found.shape))


def test_a_window_larger_than_its_image_is_refused() -> None:
    with pytest.raises(ProofError, match="a window of 3 x 3 does not fit into 2 x 8"):
        finn_operators._windows(torch.zeros(1, 2, 8, 1), [3, 3], [1, 1], [1, 1])

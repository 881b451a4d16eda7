"""The float64 executor on ONNX's own node tests: equal, or refused with a reason; never silently wrong."""

import importlib
import warnings
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnx.backend.test.case import node as node_cases
from onnx.numpy_helper import to_array
from qonnx.core.modelwrapper import ModelWrapper

from qtrain.export.errors import ProofError
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.operators import OPERATORS, READ
from tests.export.execute.test_execute import one_node

QONNX = {"Quant", "IntQuant", "BipolarQuant", "Trunc"}
MODULES = {"BatchNormalization": "batch_normalization"}
# How many of an operator's cases are equal at least, of how many; the rest are refused.
EQUAL_OF = {
    "Add": (7, 8),
    "AveragePool": (10, 20),
    "BatchNormalization": (2, 4),
    "Cast": (4, 35),
    "Clip": (12, 12),
    "Concat": (12, 12),
    "Conv": (6, 6),
    "Div": (9, 10),
    "Flatten": (9, 9),
    "Gemm": (11, 11),
    "GlobalAveragePool": (2, 2),
    "Identity": (3, 5),
    "MatMul": (7, 7),
    "MaxPool": (17, 19),
    "Mul": (8, 9),
    "Pad": (3, 6),
    "Relu": (1, 1),
    "Reshape": (9, 10),
    "Sqrt": (2, 2),
    "Sub": (8, 9),
    "TopK": (0, 7),
    "Transpose": (7, 7),
}


@cache
def cases(operator: str) -> list:
    """All of ONNX's cases of one node of this operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(f"{node_cases.__name__}.{MODULES.get(operator, operator.lower())}")
    found = [case for case in node_cases._NodeTestCases if case.model is not None]
    own = [case for case in found if [node.op_type for node in case.model.graph.node] == [operator]]
    return [case for case in own if all(_torch_has(value) for value in case.data_sets[0][0])]


def _torch_has(value: object) -> bool:
    """Whether torch takes NumPy's arrays of this type; it takes none of text or of the smallest floats."""
    try:
        torch.from_numpy(array(value))
    except TypeError:
        return False
    return True


def array(value: object) -> np.ndarray:
    """An input or output of a case, which some hold in ONNX's own form."""
    return np.array(to_array(value) if isinstance(value, onnx.TensorProto) else value)


def is_equal(model: onnx.ModelProto, inputs: list, outputs: list) -> bool:
    """Whether the executor computes what is expected; raises ``ProofError`` where it refuses."""
    graph = ModelWrapper(onnx.ModelProto.FromString(model.SerializeToString()))
    names = [value.name for value in graph.graph.input]
    for name, value in list(zip(names, inputs, strict=True))[1:]:
        graph.set_initializer(name, array(value))
    executor = Executor(graph)
    wanted = [value.name for value in graph.graph.output]
    found = executor(torch.from_numpy(array(inputs[0])), keep=wanted)
    for name, expected in zip(wanted, map(array, outputs), strict=True):
        tolerance = {np.float16: 2e-3, np.float32: 1e-5}.get(expected.dtype.type, 1e-12)
        got = found[name].numpy()
        same = got.shape == expected.shape and np.allclose(got, expected, tolerance, tolerance, equal_nan=True)
        if not same:
            return False
    return True


@pytest.mark.parametrize("operator", sorted(EQUAL_OF))
def test_onnx_cases_are_equal_or_refused(operator: str) -> None:
    verdicts = {}
    for case in cases(operator):
        for inputs, outputs in case.data_sets:
            try:
                verdicts[case.name] = is_equal(case.model, inputs, outputs)
            except ProofError:
                continue
    assert [name for name, equal in verdicts.items() if not equal] == []
    equal, of = EQUAL_OF[operator]
    assert len(verdicts) >= equal
    assert len(cases(operator)) >= of


def test_every_operator_of_onnx_has_its_cases_and_says_what_it_reads() -> None:
    assert set(EQUAL_OF) | QONNX == set(OPERATORS) == set(READ)


@pytest.mark.parametrize(
    ("operator", "parameters", "attributes", "says"),
    [
        ("Conv", {"w": np.zeros((2, 3, 3, 3))}, {"kernel_shape": [5, 5]}, "kernel_shape [5, 5] is not its weight's"),
        ("Conv", {"w": np.zeros((2, 3, 3, 3))}, {"auto_pad": "SAME"}, "auto_pad 'SAME' is not one of"),
        ("Add", {"other": np.zeros(3)}, {"axis": 1, "broadcast": 1}, "its axis is not read"),
        ("MaxPool", {}, {"kernel_shape": [2, 2], "pads": [3, 0, 0, 0]}, "nothing of the image in them"),
        ("BatchNormalization", {n: np.ones(3) for n in "abcd"}, {"spatial": 0}, "spatial=0 is not executed"),
        ("Pad", {"pads": np.array([10**6] * 8)}, {}, "GiB"),
        ("Add", {"other": np.zeros((10**5, 1, 1, 1, 1))}, {}, "GiB"),
        ("Quant", {"s": 1.0, "z": 0.0, "b": 1e12}, {}, "a bit width must be a whole number from 1 to 64"),
        ("Quant", {"s": 1.0, "z": 0.0, "b": 2.5}, {}, "a bit width must be a whole number from 1 to 64"),
        ("Conv", {"w": np.zeros((2, 3, 3, 3))}, {"strides": "ab"}, "node 'Conv': cannot execute this Conv"),
    ],
)
def test_what_is_not_executed_as_specified_is_refused(operator, parameters, attributes, says) -> None:
    model = one_node(operator, (1, 3, 64, 64), parameters, **attributes)
    if operator == "Pad":
        model.set_initializer("pads", parameters["pads"])
    with pytest.raises(ProofError, match=operator) as refusal:
        Executor(model)(torch.zeros(1, 3, 64, 64))
    assert says in str(refusal.value)


def test_the_limits_of_clips_oldest_form_are_read() -> None:
    model = one_node("Clip", (1, 3), {}, min=-1.0, max=1.0)
    assert Executor(model)(torch.tensor([[-2.0, 0.5, 3.0]]))["y"].tolist() == [[-1.0, 0.5, 1.0]]


def test_an_operator_of_a_foreign_domain_is_not_taken_for_onnxs() -> None:
    with pytest.raises(ProofError, match=r"cannot execute operator 'Relu' of com\.example"):
        Executor(one_node("Relu", (1, 3), {}, "com.example"))


BATCHED = [("Flatten", {}, {"axis": axis}) for axis in range(-3, 5)] + [
    ("Reshape", {"shape": np.array(shape, dtype=np.int64)}, {})
    for shape in ([1, -1], [0, -1], [-1, 24], [2, -1], [2, 3, 4], [1, 2, 3, 4], [-1], [-1, 4], [1, 24], [0, 0, -1])
]
BATCHED += [("Transpose", {}, {"perm": list(perm)}) for perm in ((0, 3, 1, 2), (1, 0, 2, 3), (3, 2, 1, 0))]
BATCHED += [("Concat", {"other": np.ones((1, 2, 3, 4))}, {"axis": axis}) for axis in (-4, -3, 0, 1, 3)]
BATCHED += [("TopK", {"k": np.array([1], dtype=np.int64)}, {"axis": axis}) for axis in (-4, -1, 0, 2)]
BATCHED += [("Pad", {"pads": np.array(pads, dtype=np.int64)}, {}) for pads in ([0, 1] * 4, [1, 0, 0, 0] * 2)]


@pytest.mark.parametrize(("operator", "parameters", "attributes"), BATCHED)
def test_a_batch_gives_what_single_images_give_or_is_refused(operator, parameters, attributes) -> None:
    model = one_node(operator, (1, 2, 3, 4), parameters, **attributes)
    for name, value in parameters.items():
        model.set_initializer(name, value if value.dtype == np.int64 else value.astype(np.float32))
    if operator == "TopK":
        model.graph.node[0].output.append("index")
    executor = Executor(model)
    images = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    try:
        batch = executor(images)["y"]
    except ProofError:
        return
    singles = [executor(image[None])["y"] for image in images]
    assert all(len(single) == 1 for single in singles)
    assert torch.equal(batch, torch.cat(singles))

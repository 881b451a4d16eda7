"""What constants alone pass through is computed as ONNX says, for whole networks too; nothing else is let through."""

import importlib
import math
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import pytest
import torch
from onnx.backend.test.case import node as node_cases
from torch import Tensor, nn
from torch.nn import functional as F

from qtrain.export.errors import ProofError
from qtrain.export.execute.executor import Executor
from qtrain.export.execute.folded import FOLDED, folded
from qtrain.export.execute.operators import OPERATORS
from tests.export.execute.test_execute import one_node
from tests.export.small import Small, exported, found, settled

# --- Operator by operator --------------------------------------------------------------------------------------------


@cache
def onnx_cases() -> list[Any]:
    """ONNX's own cases of one node that may be folded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.iter_modules(node_cases.__path__):
            importlib.import_module(f"{node_cases.__name__}.{module.name}")
    of_one = [case for case in node_cases._NodeTestCases if case.model is not None and len(case.model.graph.node) == 1]
    return [case for case in of_one if case.model.graph.node[0].op_type in FOLDED]


def of_numbers(case: Any) -> Iterator[tuple[dict[str, Tensor], dict[str, np.ndarray]]]:
    """A case's inputs and outputs by name; text and types that torch has not are left out."""
    node = case.model.graph.node[0]
    for inputs, outputs in case.data_sets:
        given = [np.asarray(value) for value in inputs if not isinstance(value, onnx.TensorProto)]
        if len(given) < len(inputs) or any(value.dtype.kind not in "fiub" for value in (*given, *outputs)):
            continue
        names = [value.name for value in case.model.graph.input]
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in zip(names, given, strict=True)}
        doubled = {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}
        yield doubled, dict(zip([name for name in node.output if name], outputs, strict=True))


@pytest.mark.parametrize("operator", sorted(FOLDED - {"Cast"}))  # of whose cases all are of types of eight bits or text
def test_constants_give_what_onnx_expects(operator: str) -> None:
    seen = 0
    for case in onnx_cases():
        node = case.model.graph.node[0]
        for given, outputs in of_numbers(case) if node.op_type == operator else ():
            made = folded(node, given, case.model.opset_import)
            for name, expected in outputs.items():
                tolerance = 2e-3 if expected.dtype == np.float16 else 1e-5
                assert made[name].shape == expected.shape
                assert np.allclose(made[name], expected, rtol=tolerance, atol=tolerance, equal_nan=True), case.name
            seen += 1
    assert seen > 0


def test_a_cast_rounds_and_is_kept_in_double() -> None:
    node = oh.make_node("Cast", ["x"], ["y"], to=onnx.TensorProto.FLOAT)
    made = folded(node, {"x": torch.tensor(0.1, dtype=torch.float64)}, [oh.make_opsetid("", 13)])["y"]
    assert made.dtype == torch.float64
    assert made.item() == float(np.float32(0.1))


def test_only_what_images_may_not_meet_is_named() -> None:
    assert FOLDED & set(OPERATORS) == {"Cast"}  # of images from float to float alone, of constants to any type
    assert all(onnx.defs.has(operator) for operator in FOLDED)


def behind(*nodes: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    """A graph that multiplies its input with what nodes make of constants."""
    model = one_node("Mul", (1, 3), {"factor": np.array(1.0)})
    del model.graph.initializer[:]
    for at, node in enumerate(nodes):
        model.graph.node.insert(at, node)
    for name, value in constants.items():
        model.set_initializer(name, value)
    return model


def test_constants_are_computed_once_in_double() -> None:
    log = oh.make_node("Log", ["a"], ["factor"])
    executor = Executor(behind(log, a=np.array(3.0, np.float32)))
    assert executor(torch.ones(2, 3))["y"].flatten().tolist() == [math.log(3)] * 6
    assert executor.constants["factor"].item() == math.log(3)


@pytest.mark.parametrize(
    ("node", "constants", "says"),
    [
        (oh.make_node("RandomNormalLike", ["a"], ["factor"]), {"a": np.zeros(3)}, "cannot execute operator 'Random"),
        (oh.make_node("RandomNormal", [], ["factor"], shape=[3]), {}, "cannot execute operator 'RandomNormal'"),
        (oh.make_node("Log", ["a"], ["factor"], domain="com.example"), {"a": np.zeros(3)}, "cannot execute operator"),
        (oh.make_node("Log", ["x"], ["factor"]), {}, "cannot execute operator 'Log'"),
        (oh.make_node("Expand", ["a", "b"], ["factor"]), {"a": np.zeros(1), "b": np.array([10**6] * 3)}, "GiB"),
        (oh.make_node("Pow", ["a", "b"], ["factor"]), {"a": np.zeros((10**5, 1)), "b": np.zeros(10**5)}, "GiB"),
        (oh.make_node("Gather", ["a", "b"], ["factor"]), {"a": np.zeros(10**5), "b": np.zeros(10**5, int)}, "GiB"),
        (oh.make_node("ReduceMax", ["a"], ["factor"], axes=[7]), {"a": np.zeros(3)}, "cannot execute this ReduceMax"),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_what_is_random_too_large_or_met_by_images_is_refused(
    node: onnx.NodeProto, constants: dict[str, np.ndarray], says: str
) -> None:
    floats = {name: value.astype(np.float32) if value.dtype == float else value for name, value in constants.items()}
    with pytest.raises(ProofError, match=says):
        Executor(behind(node, **floats))


# --- In networks -----------------------------------------------------------------------------------------------------


class Scaled(Small):
    """Logits times a number that is made of a parameter."""

    def __init__(self, factor: Callable[[Tensor], Tensor]):
        super().__init__()
        self.factor = factor
        self.scale = nn.Parameter(torch.tensor([0.4, 0.7, 0.2]))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor(self.scale)


FACTORS: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": lambda scale: scale[0].exp(),
    "softplus": lambda scale: F.softplus(scale[0]),
    "clamped": lambda scale: scale[0].exp().clamp(max=100.0),
    "power": lambda scale: scale[1] ** 2.5,
    "softmax": lambda scale: scale.softmax(0)[1],
    "normalized": lambda scale: F.normalize(scale, dim=0)[0],
    "deviation": lambda scale: scale.std(),
    "where": lambda scale: torch.where(scale[0] > 0, scale[0], scale[1]),
    "product": lambda scale: torch.einsum("i,i->", scale, scale),
    "angle": lambda scale: torch.atan(scale[2]),
}


@pytest.mark.parametrize(
    "kind",
    [
        "exp",
        "normalized",
        *(pytest.param(k, marks=pytest.mark.slow) for k in FACTORS if k not in ("exp", "normalized")),
    ],
)
def test_logits_times_what_a_parameter_gives_are_exported_and_proven(kind: str, tmp_path: Path) -> None:
    network = settled(Scaled(FACTORS[kind]))
    assert not found(network)
    assert exported(network, tmp_path).equal == 12

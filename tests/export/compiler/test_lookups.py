"""qonnx's searches and clean-up in fewer steps answer as qonnx's own do, on graphs that are right and that are not."""

import inspect
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import GraphProto, TensorAnnotation, TensorProto, helper
from qonnx.core import onnx_exec
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation import general, infer_datatypes
from qonnx.util import basic

from qtrain.export.compiler import _index, _lookups, _sparing

NAMES = (*"abcdefgh", "")
PASSES = (
    (_lookups.in_order, general.SortGraph),
    (_lookups.all_read, general.RemoveUnusedTensors),
    (_lookups.none_shared, general.GiveUniqueParameterTensors),
)


def drawn_graph(seed: int) -> ModelWrapper:
    """Nodes that read and make tensors at random: some in order, some in circles, with records of some tensors."""
    draw = random.Random(seed)
    tidy = seed % 2
    nodes, known = [], ["a"]
    for number in range(draw.randint(2, 6)):
        made = f"t{number}" if tidy else draw.choice(NAMES[1:8])
        reads = [draw.choice(known[-2:] if tidy else NAMES), draw.choice(("w", "v", made if not tidy else "w"))]
        nodes.append(helper.make_node("Add", reads, [made], name=f"n{number}"))
        known.append(made)
    if draw.random() < 0.4:
        draw.shuffle(nodes)
    records = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in {*known} - {"a", known[-1]}]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", known[-1])]
    parameters = [helper.make_tensor(name, TensorProto.FLOAT, [1], [2.0]) for name in ("w", "v", "u")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], parameters[: draw.randint(2, 3)], value_info=records)
    graph.quantization_annotation.extend(TensorAnnotation(tensor_name=name) for name in draw.sample(known, 2))
    model = ModelWrapper(helper.make_model(graph))
    if draw.random() < 0.2:
        model.graph.value_info.extend(model.graph.value_info[:1])
    return model


def told(search: Callable[..., Any], *args: Any) -> Any:
    """What a search gives, as text, or the error that it raises."""
    try:
        found = search(*args)
    except Exception as error:
        return type(error), str(error)
    return [str(one) for one in found] if isinstance(found, (list, tuple)) else str(found)


@pytest.mark.parametrize("seed", range(60))
def test_searches_find_what_those_of_qonnx_find(seed: int) -> None:
    model = drawn_graph(seed)
    shape = _lookups._shape(ModelWrapper.get_tensor_shape)
    consumers = _index._consumers(model, ModelWrapper.find_consumers)
    for name in (*NAMES, "w", "u", "t0", "t1", "t2"):
        for ours, theirs in (
            (_lookups.find_consumers, ModelWrapper.find_consumers),
            (_lookups.get_tensor_valueinfo, ModelWrapper.get_tensor_valueinfo),
            (_lookups.get_initializer, ModelWrapper.get_initializer),
            (shape, ModelWrapper.get_tensor_shape),
        ):
            assert told(ours, model, name) == told(theirs, model, name)
        assert told(consumers, name) == told(model.find_consumers, name)
        assert told(_lookups.get_initializer, model, name, True) == told(model.get_initializer, name, True)
        for container in (model.graph.value_info, model.graph.node, model.graph.initializer):
            assert told(_lookups.get_by_name, container, name) == told(basic.get_by_name, container, name)
        annotations = model.graph.quantization_annotation
        asked = annotations, name, "tensor_name"
        assert told(_lookups.get_by_name, *asked) == told(basic.get_by_name, *asked)


def passed(kind: Any, model: ModelWrapper) -> bytes | type:
    """The graph that a pass of qonnx's leaves, or the error that it raises; names that it draws are always the same."""
    random.seed(0)
    try:
        return kind().apply(model)[0].model.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
    except Exception as error:
        return type(error)


@pytest.mark.parametrize(("clean", "kind"), PASSES)
def test_a_pass_that_is_left_out_would_have_changed_nothing(clean: Callable[[GraphProto], bool], kind: Any) -> None:
    said = {True: 0, False: 0}
    for seed in range(300):
        model = drawn_graph(seed)
        before = model.model.SerializeToString(deterministic=True)
        found = clean(model.graph)
        assert model.model.SerializeToString(deterministic=True) == before
        said[found] += 1
        if found:
            assert passed(kind, model) == before
    assert min(said.values()) > 20


def test_a_pass_is_left_out_only_where_nothing_is_to_do() -> None:
    applied: list[int] = []
    apply = _lookups._unless(_lookups.none_shared, lambda _, model: applied.append(1) or (model, False))
    graph = helper.make_graph([helper.make_node("Add", ["a", "w"], ["b"])], "g", [], [])
    model = ModelWrapper(helper.make_model(graph))
    model.set_initializer("w", np.ones(1, np.float32))
    assert apply(None, model) == (model, False)
    assert not applied
    model.graph.node.append(helper.make_node("Add", ["b", "w"], ["c"]))
    assert apply(None, model) == (model, False)
    assert applied


@pytest.mark.parametrize("text", ["['N', 'C', 'H', 'W']", "[]", "None"])
def test_a_layout_is_read_as_python_reads_it_and_is_ones_own(text: str) -> None:
    found = _lookups.layout(text)
    assert found == eval(text)
    if isinstance(found, list):
        found.append("more")
        assert _lookups.layout(text) == eval(text)


def test_a_node_is_executed_with_the_records_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    model = drawn_graph(17)
    images = {"a": np.array([3.0], np.float32)}
    plain = onnx_exec.execute_onnx(model, images, return_full_exec_context=True)
    seen: list[int] = []
    real = onnx_exec.execute_node

    def noted(node: Any, context: Any, graph: Any, *rest: Any) -> Any:
        seen.append(len(graph.value_info))
        return real(node, context, graph, *rest)

    monkeypatch.setattr(onnx_exec, "execute_node", _lookups._with_few_records(noted))
    found = onnx_exec.execute_onnx(model, images, return_full_exec_context=True)
    assert {name: str(value) for name, value in found.items()} == {name: str(value) for name, value in plain.items()}
    assert len(seen) == len(model.graph.node)
    assert max(seen) <= 3 < len(model.graph.value_info)


def test_a_node_is_executed_by_whoever_names_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """finn-plus' executor names the operator set."""
    model = drawn_graph(17)
    version = model.model.opset_import[0].version
    executed: list[int] = []

    def noted(node: Any, context: Any, graph: Any, *, opset_version: int) -> None:
        executed.append(opset_version)

    execute = _lookups._with_few_records(noted)
    execute(model.graph.node[0], {}, model.graph, opset_version=version)
    assert executed == [version]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (_lookups.get_by_name, basic.get_by_name),
        (_lookups.find_consumers, ModelWrapper.find_consumers),
        (_lookups.get_tensor_valueinfo, ModelWrapper.get_tensor_valueinfo),
        (_lookups._shape(ModelWrapper.get_tensor_shape), ModelWrapper.get_tensor_shape),
        (_lookups.get_initializer, ModelWrapper.get_initializer),
        (_sparing._inferring(infer_datatypes._infer_node_datatype, basic), infer_datatypes._infer_node_datatype),
    ],
)
def test_a_replacement_takes_its_arguments_by_the_same_names(ours: Callable, theirs: Callable) -> None:
    taken = [list(inspect.signature(one, follow_wrapped=False).parameters) for one in (ours, theirs)]
    assert taken[0][1:] == taken[1][1:]  # the first is the object, or the container

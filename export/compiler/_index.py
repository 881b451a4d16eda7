"""Indexed lookups for the passes of qonnx that search a whole graph for every input of every node.

They run after nearly each of FINN's transformations and take most of a deep network's build. Their code stays qonnx's;
while one runs, its lookups are answered from a dictionary. Nothing that is asked changes before the pass has asked it,
or changes through the lookup itself, so the graphs are the same, byte for byte.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Answer = Callable[..., Any]
Make = Callable[[Any, Answer], Answer]  # of what is asked, and of the search that the index stands for


def _producers(model: Any, _search: Answer) -> Answer:
    """``find_producer``: the first node with that output."""
    found: dict[str, Any] = {}
    for node in model.graph.node:
        for name in node.output:
            found.setdefault(name, node)
    return found.get


def _initializers(model: Any, _search: Answer) -> Answer:
    """``get_initializer``, which is asked for dynamic inputs too; parameters that are added are not asked for."""
    from onnx import numpy_helper

    found: dict[str, Any] = {}
    for tensor in model.graph.initializer:
        found.setdefault(tensor.name, tensor)

    def answer(name: str, return_dtype: bool = False) -> Any:
        tensor = found.get(name)
        value, kind = (None, None) if tensor is None else (numpy_helper.to_array(tensor), tensor.data_type)
        return (value, kind) if return_dtype else value

    return answer


def _asked_twice(model: Any, _search: Answer) -> Answer:
    """``get_initializer`` of one who looks at the value only when asking for a name again."""
    values = _initializers(model, _search)
    there = {tensor.name for tensor in model.graph.initializer}
    asked: set[str] = set()

    def answer(name: str, return_dtype: bool = False) -> Any:
        if return_dtype or name not in there or name in asked:
            return values(name, return_dtype)
        asked.add(name)
        return True

    return answer


def _whether_there(model: Any, _search: Answer) -> Answer:
    """``get_initializer`` of one who does not look at the value."""
    there = {tensor.name for tensor in model.graph.initializer}

    def answer(name: str) -> Any:
        return True if name in there else None

    return answer


def _consumers(model: Any, _search: Answer) -> Answer:
    """``find_consumers``: each node as often as it reads the tensor."""
    found: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return lambda name: list(found.get(name, ()))


def _records(model: Any) -> tuple[dict[str, Any], set[str]]:
    """Tensors' records by name, and the names that have two."""
    found: dict[str, Any] = {}
    twice: set[str] = set()
    for tensor in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        twice |= {tensor.name} & found.keys()
        found[tensor.name] = tensor
    return found, twice


def _valueinfos(model: Any, search: Answer) -> Answer:
    """``get_tensor_valueinfo``; what has no record yet, or two, is for qonnx to settle."""
    found, twice = _records(model)
    return lambda name: found[name] if name in found and name not in twice else search(name)


def _shapes(model: Any, search: Answer) -> Answer:
    """``get_tensor_shape``; what has no shape yet, or two, is for qonnx to settle."""
    found, twice = _records(model)

    def answer(name: str, fix_missing_init_shape: bool = False) -> Any:
        if name in found and name not in twice:
            return [size.dim_value for size in found[name].type.tensor_type.shape.dim]
        return search(name, fix_missing_init_shape)

    return answer


def _annotations(container: Any, search: Answer) -> Answer:
    """``get_by_name`` of a tensor's annotation; the passes add some at the end and drop none."""
    found: dict[str, Any] = {}
    twice: set[str] = set()
    seen = 0

    def answer(name: str, name_field: str) -> Any:
        nonlocal seen
        for annotation in container[seen:]:
            twice.update({annotation.tensor_name} & found.keys())
            found[annotation.tensor_name] = annotation
        seen = len(container)
        return search(name, name_field) if name in twice else found.get(name)

    return answer


def _names(model: Any, search: Answer) -> Answer:
    """``rename_tensor``; where the new name is taken, or the old one has two records, qonnx settles it."""
    graph = model.graph
    lists = [(graph.input, "name"), (graph.output, "name"), (graph.value_info, "name"), (graph.initializer, "name")]
    lists.append((graph.quantization_annotation, "tensor_name"))
    records: dict[str, list[tuple[Any, str]]] = {}
    nodes: dict[str, list[Any]] = {}
    twice: set[str] = set()

    def read() -> None:
        for index in (records, nodes, twice):
            index.clear()
        for container, field in lists:
            here: set[str] = set()
            for record in container:
                name = getattr(record, field)
                twice.update({name} & here)
                here.add(name)
                records.setdefault(name, []).append((record, field))
        for node in graph.node:
            for name in dict.fromkeys((*node.input, *node.output)):
                nodes.setdefault(name, []).append(node)

    def answer(old: str, new: str) -> None:
        if new in records or new in nodes or old in twice:
            search(old, new)
            read()
            return
        records[new], nodes[new] = records.pop(old, []), nodes.pop(old, [])
        for record, field in records[new]:
            setattr(record, field, new)
        for node in nodes[new]:
            for side in (node.input, node.output):
                if old in side:
                    side[list(side).index(old)] = new
        if left := [node for node in nodes[new] if old in node.input or old in node.output]:
            nodes[old] = left  # a node that takes it twice: qonnx renames the first

    read()
    return answer


def _any_call(*_args: Any, **_kwargs: Any) -> bool:
    return True


def _of_annotations(_name: str, name_field: str = "name") -> bool:
    return name_field == "tensor_name"


@contextmanager
def _answering(owner: Any, name: str, search: Answer, make: Make, concerned: Callable[..., bool]) -> Iterator[None]:
    """Let ``owner.name`` answer from an index for a while; each thing that is asked gets one when it is first asked."""
    before = getattr(owner, name)
    kept: dict[int, tuple[Any, Answer]] = {}

    @functools.wraps(search)
    def lookup(asked: Any, *args: Any, **kwargs: Any) -> Any:
        if not concerned(*args, **kwargs):
            return search(asked, *args, **kwargs)
        if id(asked) not in kept:
            kept[id(asked)] = asked, make(asked, functools.partial(search, asked))
        return kept[id(asked)][1](*args, **kwargs)

    setattr(owner, name, lookup)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _index(
    kind: Any, method: str, owner: Any, lookup: str, make: Make, concerned: Callable[..., bool] = _any_call
) -> None:
    """Let ``owner.lookup`` answer from an index while ``kind.method`` runs: those calls that it is concerned with."""
    # qonnx's own, also where one of these passes runs inside another: an index knows one state of one model.
    original, search = getattr(kind, method), getattr(owner, lookup)

    @functools.wraps(original)
    def indexed(*args: Any, **kwargs: Any) -> Any:
        with _answering(owner, lookup, search, make, concerned):
            return original(*args, **kwargs)

    setattr(kind, method, indexed)


def install() -> None:
    """Let qonnx's passes in this process use the index."""
    from qonnx.core import onnx_exec
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation import general
    from qonnx.transformation.infer_data_layouts import InferDataLayouts
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.util import basic

    _index(general.SortGraph, "apply", ModelWrapper, "find_producer", _producers)
    _index(general.GiveUniqueParameterTensors, "apply", ModelWrapper, "get_initializer", _asked_twice)
    _index(general.SortCommutativeInputsInitializerLast, "apply", ModelWrapper, "get_initializer", _whether_there)
    _index(ModelWrapper, "check_all_tensor_shapes_specified", ModelWrapper, "get_tensor_shape", _shapes)
    _index(InferDataTypes, "apply", basic, "get_by_name", _annotations, _of_annotations)
    _index(InferDataTypes, "apply", ModelWrapper, "get_tensor_valueinfo", _valueinfos)
    _index(InferDataLayouts, "apply", basic, "get_by_name", _annotations, _of_annotations)
    _index(InferDataLayouts, "apply", ModelWrapper, "get_tensor_shape", _shapes)
    # The second calls the first, on a copy of the model, before it renames anything itself.
    _index(general.GiveUniqueTensorNames, "apply", ModelWrapper, "rename_tensor", _names)
    _index(general.GiveReadableTensorNames, "apply", ModelWrapper, "rename_tensor", _names)
    # Execution leaves a graph as it is.
    _index(onnx_exec, "execute_onnx", basic, "get_by_name", _annotations, _of_annotations)
    _index(onnx_exec, "execute_onnx", ModelWrapper, "find_consumers", _consumers)

"""qonnx's searches of a graph in fewer steps of Python, and its clean-up only where there is something to clean.

FINN's transformations ask for a node's attributes, readers and shapes a hundred thousand times, each time by a walk
through all of them. What they are told is the same, and so is what is raised. Behind nearly each transformation nodes
are sorted, tensors that nobody reads are dropped, and parameters that two nodes read are copied: mostly there are none.
"""

from __future__ import annotations

import functools
import sys
import types
from collections import Counter
from collections.abc import Callable
from itertools import chain, compress
from operator import attrgetter
from typing import Any

NAME = attrgetter("name")
FIELDS = {field: attrgetter(field) for field in ("name", "key", "tensor_name")}


def get_by_name(container: Any, name: str, name_field: str = "name") -> Any:
    """``qonnx.util.basic.get_by_name``: the one of that name; None where there is none."""
    read = FIELDS.get(name_field) or attrgetter(name_field)
    names = [*map(read, container)]
    if name not in names:
        return None
    if names.count(name) > 1:
        raise Exception("Found multiple get_by_name matches, undefined behavior")
    return container[names.index(name)]


def find_consumers(model: Any, tensor_name: str) -> list[Any]:
    """``ModelWrapper.find_consumers``: once for each time that a node reads the tensor."""
    readers = []
    for node in model._model_proto.graph.node:
        names = [*node.input]
        if tensor_name in names:
            readers += [node] * names.count(tensor_name)
    return readers


def get_tensor_valueinfo(model: Any, tensor_name: str) -> Any:
    """``ModelWrapper.get_tensor_valueinfo``."""
    graph = model._model_proto.graph
    found, times = None, 0
    for container in (graph.input, graph.output, graph.value_info):
        names = [*map(NAME, container)]
        if tensor_name in names:
            times += names.count(tensor_name)
            found = container[names.index(tensor_name)]
    assert times <= 1, "Multiple ValueInfoProto found for " + tensor_name
    return found


def _shape(search: Any) -> Any:
    """``ModelWrapper.get_tensor_shape``; a tensor without a record is for qonnx."""

    @functools.wraps(search)
    def get_tensor_shape(model: Any, tensor_name: str, fix_missing_init_shape: bool = False) -> Any:
        record = get_tensor_valueinfo(model, tensor_name)
        if record is None:
            return search(model, tensor_name, fix_missing_init_shape)
        return [size.dim_value for size in record.type.tensor_type.shape.dim]

    return get_tensor_shape


def get_initializer(model: Any, tensor_name: str, return_dtype: bool = False) -> Any:
    """``ModelWrapper.get_initializer``: the first of that name as an array, on request with its type; else None."""
    from onnx import numpy_helper

    container = model._model_proto.graph.initializer
    names = [*map(NAME, container)]
    if tensor_name not in names:
        return (None, None) if return_dtype else None
    tensor = container[names.index(tensor_name)]
    value = numpy_helper.to_array(tensor)
    return (value, tensor.data_type) if return_dtype else value


def in_order(graph: Any) -> bool:
    """Whether qonnx's sort would leave the nodes as they are; where that takes longer to say, no.

    It puts those first that depend on no other, then those that depend on these alone, and so on, each group in the
    order that it had, and drops nodes that nothing leads to.
    """
    reads = [[*node.input] for node in graph.node]
    made: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        for name in node.output:
            if made.setdefault(name, number) != number:
                return False
    given = {*map(NAME, graph.input), *map(NAME, graph.initializer)}
    depths: list[int] = []
    for number, names in enumerate(reads):
        before = {made[name] for name in names if name in made}
        if any(other >= number for other in before) or not (before or given.intersection(names)):
            return False
        depths.append(1 + max((depths[other] for other in before), default=-1))
    return depths == sorted(depths)


def all_read(graph: Any) -> bool:
    """Whether a node reads or makes every tensor that the graph keeps something of."""
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    names = (map(NAME, graph.initializer), map(NAME, graph.value_info))
    return used.issuperset(chain(*names, map(FIELDS["tensor_name"], graph.quantization_annotation)))


def none_shared(graph: Any) -> bool:
    """Whether no parameter is read twice."""
    reads = [name for node in graph.node for name in node.input]
    twice = [name for name, times in Counter(reads).items() if times > 1]
    return not twice or not {*map(NAME, graph.initializer)}.intersection(twice)


def _unless(clean: Callable[[Any], bool], apply: Any) -> Any:
    """A pass' ``apply``, which is left out where the graph is clean of what it mends."""

    @functools.wraps(apply)
    def apply_where_needed(self: Any, model: Any) -> Any:
        return (model, False) if clean(model.graph) else apply(self, model)

    return apply_where_needed


def _with_few_records(execute: Any) -> Any:
    """``execute_node`` of qonnx's executor, which looks through all records for those of a node."""

    @functools.wraps(execute)
    def execute_node(node: Any, context: Any, graph: Any, *rest: Any, **named: Any) -> Any:
        if node.domain or any(attribute.HasField("g") for attribute in node.attribute):
            return execute(node, context, graph, *rest, **named)
        names = {*node.input, *node.output}
        kinds = {kind: getattr(graph, kind) for kind in ("input", "output", "value_info")}
        near = {kind: [*compress(all_, map(names.__contains__, map(NAME, all_)))] for kind, all_ in kinds.items()}
        return execute(node, context, types.SimpleNamespace(**near), *rest, **named)

    return execute_node


@functools.lru_cache(1024)
def _read_layout(text: str) -> tuple[Any, ...]:
    found = eval(text)
    if not isinstance(found, list):
        raise TypeError(text)
    return tuple(found)


def layout(text: str) -> Any:
    """``eval``, of a layout: a list of its axes, a new one each time."""
    try:
        return list(_read_layout(text))
    except TypeError:
        return eval(text)


def replace_everywhere(name: str, old: Any, new: Any) -> None:
    """Replace a function in every module that has imported it by its name."""
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(name) is old:
            setattr(module, name, new)


def install() -> None:
    """Let qonnx's searches in this process be these; before anything that keeps one of them."""
    from qonnx.core import modelwrapper, onnx_exec
    from qonnx.transformation import general
    from qonnx.util import basic

    replace_everywhere("get_by_name", basic.get_by_name, get_by_name)
    model: Any = modelwrapper.ModelWrapper
    model.find_consumers = find_consumers
    model.get_tensor_valueinfo = get_tensor_valueinfo
    model.get_tensor_shape = _shape(model.get_tensor_shape)
    model.get_initializer = get_initializer
    for kind, clean in (
        (general.SortGraph, in_order),
        (general.RemoveUnusedTensors, all_read),
        (general.GiveUniqueParameterTensors, none_shared),
    ):
        changing: Any = kind
        changing.apply = _unless(clean, changing.apply)
    executor: Any = onnx_exec
    executor.execute_node = _with_few_records(executor.execute_node)
    functions: Any = modelwrapper
    functions.eval = layout  # its module's own, before Python's

"""Indexed lookups for three passes of qonnx that search a whole graph for every input of every node.

They run after nearly each of FINN's transformations and take most of a deep network's build. Their code stays qonnx's;
while one runs, its model answers from a dictionary. Nothing that is asked changes before the pass has asked it, so the
graphs are the same, byte for byte.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Answer = Callable[..., Any]


@contextmanager
def _answering(model: Any, name: str, answer: Answer) -> Iterator[None]:
    """Let a model's method be ``answer`` for a while."""
    setattr(model, name, answer)
    try:
        yield
    finally:
        delattr(model, name)


def _producers(model: Any) -> Answer:
    """``find_producer``: the first node with that output."""
    found: dict[str, Any] = {}
    for node in model.graph.node:
        for name in node.output:
            found.setdefault(name, node)
    return found.get


def _initializers(model: Any) -> Answer:
    """``get_initializer``, which is asked for dynamic inputs too."""
    names, search = {tensor.name for tensor in model.graph.initializer}, model.get_initializer

    def answer(name: str, return_dtype: bool = False) -> Any:
        if name in names:
            return search(name, return_dtype)
        return (None, None) if return_dtype else None

    return answer


def _shapes(model: Any) -> Answer:
    """``get_tensor_shape``; what has no shape yet, or two, is for qonnx to settle."""
    search = model.get_tensor_shape
    found: dict[str, Any] = {}
    twice: set[str] = set()
    for tensor in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        twice |= {tensor.name} & found.keys()
        found[tensor.name] = tensor

    def answer(name: str, fix_missing_init_shape: bool = False) -> Any:
        if name in found and name not in twice:
            return [size.dim_value for size in found[name].type.tensor_type.shape.dim]
        return search(name, fix_missing_init_shape)

    return answer


def _index(kind: type, method: str, model_at: int, lookup: str, make: Callable[[Any], Answer]) -> None:
    """Let ``kind.method`` run while the model, its argument number ``model_at``, answers ``lookup`` from an index."""
    original = getattr(kind, method)

    @functools.wraps(original)
    def indexed(*args: Any, **kwargs: Any) -> Any:
        model = args[model_at]
        with _answering(model, lookup, make(model)):
            return original(*args, **kwargs)

    setattr(kind, method, indexed)


def install() -> None:
    """Let qonnx's passes in this process use the index."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.general import GiveUniqueParameterTensors, SortGraph

    _index(SortGraph, "apply", 1, "find_producer", _producers)
    _index(GiveUniqueParameterTensors, "apply", 1, "get_initializer", _initializers)
    _index(ModelWrapper, "check_all_tensor_shapes_specified", 0, "get_tensor_shape", _shapes)

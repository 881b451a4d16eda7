"""What a graph says of its tensors against what flows through it: FINN builds by the annotations, not the values."""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from qonnx.core.datatype import BaseDataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.infer_datatypes import InferDataTypes
from torch import Tensor

from qtrain.export.errors import ProofError
from qtrain.export.execute.executor import Executor

INPUT, OUTPUT = "UINT8", "UINT32"  # pixels; the class, as qonnx annotates what TopK gives
_MOST = 50  # tensors held at a time


def _tensors(model: ModelWrapper) -> Iterator[str]:
    graph = model.graph
    yield from dict.fromkeys(
        [
            *(value.name for value in [*graph.input, *graph.output]),
            *(tensor.name for tensor in graph.initializer),
            *(name for node in graph.node for name in node.output if name),
        ]
    )


def check_annotations(model: ModelWrapper, images: Tensor) -> None:
    """See that every annotated data type holds the values that flow, and is the one that follows from the graph.

    Args:
        model: the exported graph.
        images: uint8 [N, C, H, W].

    Raises:
        ProofError: names the tensor, its annotation and what is right.
    """
    for what, value, right in (("input", model.graph.input[0], INPUT), ("output", model.graph.output[0], OUTPUT)):
        written = model.get_tensor_datatype(value.name).name
        if written != right:
            raise ProofError(f"the graph's {what} {value.name!r} is annotated {written}, and it is {right}")
    _check_values(model, images)
    _check_inferred(model)


def _check_values(model: ModelWrapper, images: Tensor) -> None:
    executor = Executor(model)
    kinds = {name: model.get_tensor_datatype(name) for name in _tensors(model)}
    narrow = [name for name, kind in kinds.items() if kind.is_integer() or kind.is_fixed_point()]
    for start in range(0, len(narrow), _MOST):
        names = [name for name in narrow[start : start + _MOST] if name not in executor.constants]
        values = executor(images, keep=names) | executor.constants
        for name in narrow[start : start + _MOST]:
            if name in values and not _holds(kinds[name], values[name]):
                low = float(values[name].min())
                high = float(values[name].max())
                raise ProofError(
                    f"tensor {name!r} is annotated {kinds[name].name}, but its values go from {low:g} to {high:g}"
                )


def _holds(kind: BaseDataType, values: Tensor) -> bool:
    """Whether a data type has all values."""
    found = values.double().unique()
    if not kind.is_integer():
        return all(kind.allowed(value) for value in found.numpy().astype(np.float32))
    if kind.name == "BIPOLAR":
        return bool((found.abs() == 1).all())
    within = (found >= float(kind.min())) & (found <= float(kind.max()))
    return bool(within.all()) and torch.equal(found, found.round())


def _check_inferred(model: ModelWrapper) -> None:
    """Compare with the data types that qonnx infers from the input's and the quantizers'."""
    bare = copy.deepcopy(model)
    given = {tensor.name for tensor in [*bare.graph.initializer, *bare.graph.output, *bare.graph.input]}
    kept = [a for a in bare.graph.quantization_annotation if a.tensor_name in given]
    del bare.graph.quantization_annotation[:]
    bare.graph.quantization_annotation.extend(kept)
    bare = bare.transform(InferDataTypes())
    for name in [name for name in _tensors(model) if name not in given]:
        written = model.get_tensor_datatype(name).name
        right = bare.get_tensor_datatype(name).name
        if written != right:
            raise ProofError(f"tensor {name!r} is annotated {written}, and by the graph it is {right}")

"""What any ONNX graph must be before a library works on it: one definition a tensor, no cycle, sizes that can be held.

Shapes are inferred, nothing is computed: a graph that asks for more memory than ``LARGEST_TENSOR`` is refused before
anything is allocated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from qtrain.errors import UserError
from qtrain.export.execute.windows import LARGEST_TENSOR
from qtrain.export.foreign.no_code import check_no_code

# Outputs of these may be larger than their inputs by any factor.
_GROWING = frozenset(
    (
        "ConstantOfShape",
        "Expand",
        "Tile",
        "Resize",
        "Upsample",
        "Pad",
        "OneHot",
        "Range",
        "EyeLike",
        "RandomNormal",
        "RandomUniform",
    )
)
MOST_BITS = 64
_WIDTHS = {"Quant": (3,), "IntQuant": (3,), "Trunc": (3, 4), "FloatQuant": (2, 3)}  # inputs that are bit widths
_DATA_TYPE = re.compile(r"(?:U?INT|FIXED<|SCALEDINT<|FLOAT<)(\d+)(?:,(\d+))?")
_CONTROL = frozenset(("If", "Loop", "Scan", "SequenceMap"))
_SAME_SHAPE = frozenset(("Quant", "IntQuant", "BipolarQuant", "Trunc", "FloatQuant", "MultiThreshold"))
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_PACKED = {TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1}


def _called(node: NodeProto) -> str:
    name = node.name or (node.output[0] if node.output else "")
    return f"node {name!r} ({node.op_type})"


def check_graph(model: ModelProto, path: Path) -> None:
    """See that a graph can be worked on.

    Args:
        model: with or without the weights that lie in files beside it.
        path: for the error, and where those files are.

    Raises:
        UserError: names the node or tensor and what is wrong with it.
    """
    check_no_code(model, path)
    graph = model.graph
    _check_definitions(graph, path)
    _check_order(graph, path)
    for tensor in graph.initializer:
        _check_tensor(tensor, tensor.name, path)
    for node in graph.node:
        if node.op_type in _CONTROL:
            raise UserError(f"{path}: {_called(node)} is control flow, which FINN has not; write the graph without it")
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _check_tensor(attribute.t, f"{attribute.name} of {_called(node)}", path)
    _check_widths(graph, path)
    _check_shapes([*graph.input, *graph.output, *graph.value_info], path)
    _check_growth(model, path)


def _check_widths(graph: GraphProto, path: Path) -> None:
    """See that no integer is wider than ``MOST_BITS``: qonnx computes its range, two to the power of them."""
    constants = {tensor.name: tensor for tensor in graph.initializer if not tensor.external_data}
    for node in graph.node:
        for place in _WIDTHS.get(node.op_type, ()):
            tensor = constants.get(node.input[place]) if place < len(node.input) else None
            widths = numpy_helper.to_array(tensor).ravel() if tensor is not None else ()
            if any(not width <= MOST_BITS for width in widths):
                raise UserError(f"{path}: {_called(node)} is {max(widths):g} bits wide; {MOST_BITS} are allowed")
        for attribute in node.attribute:
            _check_type(attribute.s.decode(errors="replace"), _called(node), path)
    for annotation in graph.quantization_annotation:
        for entry in annotation.quant_parameter_tensor_names:
            _check_type(entry.value, f"tensor {annotation.tensor_name!r}", path)


def _check_type(name: str, whose: str, path: Path) -> None:
    found = _DATA_TYPE.match(name)
    if found and any(len(bits) > 4 or int(bits) > MOST_BITS for bits in found.groups("0")):
        raise UserError(f"{path}: {whose} is of type {name[:40]}; {MOST_BITS} bits are allowed")


def _check_definitions(graph: GraphProto, path: Path) -> None:
    """See that every tensor is defined once."""
    initializers = [tensor.name for tensor in graph.initializer]
    made = [name for node in graph.node for name in node.output if name]
    inputs = {value.name for value in graph.input} - set(initializers)
    seen: set[str] = set()
    for name in [*inputs, *initializers, *made]:
        if name in seen:
            raise UserError(f"{path}: tensor {name!r} is defined twice; write the graph again")
        seen.add(name)


def _check_order(graph: GraphProto, path: Path) -> None:
    """See that no node waits for its own output."""
    maker = {name: node_index for node_index, node in enumerate(graph.node) for name in node.output if name}
    waits = [{maker[name] for name in node.input if name in maker} for node in graph.node]
    readers: list[list[int]] = [[] for _ in graph.node]
    for reader, makers in enumerate(waits):
        for made_by in makers:
            readers[made_by].append(reader)
    ready = [i for i, makers in enumerate(waits) if not makers]
    left = len(waits)
    while ready:
        done = ready.pop()
        left -= 1
        for reader in readers[done]:
            waits[reader].discard(done)
            if not waits[reader]:
                ready.append(reader)
    if left:
        first = next(node for node, makers in zip(graph.node, waits, strict=True) if makers)
        raise UserError(f"{path}: {_called(first)} waits for its own output: the graph has a cycle")


def _check_tensor(tensor: TensorProto, name: str, path: Path) -> None:
    """See that a constant holds as many values as it declares."""
    dims = list(tensor.dims)
    if any(n < 0 for n in dims):
        raise UserError(f"{path}: constant {name!r} declares the shape {dims}; write the graph again")
    if tensor.data_type not in onnx.TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise UserError(f"{path}: constant {name!r} has the unknown type {tensor.data_type}; write the graph again")
    values = math.prod(dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        _check_external(tensor, values, name, path)
    elif tensor.HasField("raw_data") and tensor.data_type != TensorProto.STRING:
        held = len(tensor.raw_data)
        if held != _bytes(tensor, values):
            raise UserError(f"{path}: constant {name!r} declares {dims}, but holds {held} bytes; write the graph again")
    elif values > max(len(getattr(tensor, field)) for field in _TYPED) * 2:  # int4 keeps two in one
        raise UserError(f"{path}: constant {name!r} declares {dims}, but holds fewer values; write the graph again")


def _bytes(tensor: TensorProto, values: int) -> int:
    if tensor.data_type in _PACKED:
        return (values + 1) // 2
    if tensor.data_type == TensorProto.STRING:
        return values
    return values * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _check_external(tensor: TensorProto, values: int, name: str, path: Path) -> None:
    """See that the bytes are within the file beside the graph; that it is there, its reader says."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file = path.parent / entries.get("location", "")
    if not file.is_file():
        return
    numbers = {key: entries.get(key, "0") for key in ("offset", "length")}
    if any(not number.isdecimal() or len(number) > 18 for number in numbers.values()):
        raise UserError(f"{path}: constant {name!r} lies at {numbers} of {file}, which are no places in a file")
    held = file.stat().st_size - int(numbers["offset"])
    needed = max(int(numbers["length"]), _bytes(tensor, values))
    if needed > held:
        raise UserError(
            f"{path} keeps its weights in {file.name}, which is missing or cut short; put it back beside it"
        )


def _shape(value: ValueInfoProto) -> list[int]:
    """The sizes that are known, 1 for those that are open."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else 1 for dim in dims]


def _check_shapes(values: Iterable[ValueInfoProto], path: Path) -> None:
    """See that tensors may be allocated, one image of them."""
    for value in values:
        shape = _shape(value)
        size = math.prod(shape) * 8
        if any(n < 0 for n in shape) or size > LARGEST_TENSOR:
            needs = f"; {LARGEST_TENSOR >> 30} GiB are allowed" if size > LARGEST_TENSOR else ""
            raise UserError(f"{path}: tensor {value.name!r} has the shape {shape}{needs}; write the graph again")


def _check_growth(model: ModelProto, path: Path) -> None:
    """Infer shapes and hold them to the limit; constants that grow must have one that can be inferred."""
    probe = ModelProto()
    probe.CopyFrom(model)
    for node in probe.graph.node:
        if node.op_type in _SAME_SHAPE and node.input:  # onnx knows nothing of qonnx' quantizers
            node.CopyFrom(onnx.helper.make_node("Identity", node.input[:1], node.output[:1], name=node.name))
    try:
        inferred = onnx.shape_inference.infer_shapes(probe, data_prop=True).graph
    except Exception:  # what it cannot infer it may say so: the growing constants below are then refused
        inferred = probe.graph
    _check_shapes(inferred.value_info, path)
    known = {
        value.name for value in [*inferred.value_info, *inferred.output] if value.type.tensor_type.HasField("shape")
    }
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if not all(name in constants for name in node.input if name):
            continue
        constants.update(node.output)
        if node.op_type in _GROWING and not known.issuperset(name for name in node.output if name):
            raise UserError(f"{path}: {_called(node)} makes a constant whose size cannot be told; write it as one")

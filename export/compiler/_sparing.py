"""What qonnx and FINN compute again though it is known already, answered from before.

Their code stays as it is, and the graphs are the same, byte for byte:

- data types are inferred for all nodes behind nearly each of FINN's transformations; a node whose attributes and types
  are those that its inference left as they were before is left as it is;
- a data type is made anew wherever its name is read;
- the executor makes a session of onnxruntime, with its threads, for each node, image and step; equal nodes share one;
- it takes the largest of a tensor's values one by one.
"""

from __future__ import annotations

import builtins
import functools
import types
from typing import Any

SESSIONS = 512  # kept at a time: a deep network's nodes at two of FINN's steps
# What these give follows from their attributes and the types of their inputs and outputs alone; others may look at
# constants, shapes or anything else of a graph.
FOLLOWING = frozenset(
    (
        *("Add", "Clip", "Concat", "Conv", "Flatten", "Gemm", "Identity", "MatMul", "MaxPool", "Mul", "Pad", "Relu"),
        *("Reshape", "Sub", "TopK", "Transpose", "Im2Col", "MaxPoolNHWC", "MultiThreshold"),
        *("ConvolutionInputGenerator_hls", "ConvolutionInputGenerator_rtl", "ConvolutionInputGenerator"),
        *("DuplicateStreams", "DuplicateStreams_hls", "FMPadding", "FMPadding_hls", "FMPadding_rtl"),
        *("MVAU", "MVAU_hls", "MVAU_rtl", "Thresholding", "Thresholding_hls", "Thresholding_rtl"),
    )
)


def _type_of(model: Any, name: str, get_by_name: Any) -> str | None:
    """A tensor's annotated type; None where it has none."""
    annotation = get_by_name(model.graph.quantization_annotation, name, "tensor_name")
    written = () if annotation is None else annotation.quant_parameter_tensor_names
    types_of = [entry.value for entry in written if entry.key == "finn_datatype"]
    return types_of[0] if len(types_of) == 1 else None


def _without_names(node: Any) -> bytes:
    """All of a node but what it is called and what its tensors are called: these change where nothing else does."""
    bare = type(node)()
    bare.CopyFrom(node)
    for field in ("name", "input", "output"):
        bare.ClearField(field)
    written: bytes = bare.SerializeToString()
    return written


def _inferring(infer: Any, basic: Any) -> Any:
    """The inference of one node, qonnx's, which skips nodes that it has left as they were."""
    settled: set[Any] = set()

    def state(model: Any, node: Any, scaled: bool) -> Any:
        outputs = tuple(_type_of(model, name, basic.get_by_name) for name in node.output)
        if None in outputs:
            return None  # inferring writes one
        inputs = tuple(_type_of(model, name, basic.get_by_name) or default(model, name) for name in node.input)
        return scaled, _without_names(node), inputs, outputs

    def default(model: Any, name: str) -> str:
        return model.get_tensor_datatype(name).name if name else ""

    @functools.wraps(infer)
    def inferred(model: Any, node: Any, allow_scaledint_dtypes: bool) -> Any:
        if node.op_type not in FOLLOWING:
            return infer(model, node, allow_scaledint_dtypes)
        before = state(model, node, allow_scaledint_dtypes)
        if before in settled:
            return False
        changed = infer(model, node, allow_scaledint_dtypes)
        if before is not None and not changed and state(model, node, allow_scaledint_dtypes) == before:
            settled.add(before)
        return changed

    return inferred


def largest(*values: Any, **options: Any) -> Any:
    """``max``, of a NumPy vector at once; where one of its values is no number, as Python has it."""
    import numpy as np

    if (
        len(values) == 1
        and not options
        and isinstance(values[0], np.ndarray)
        and values[0].ndim == 1
        and len(values[0])
    ):
        found = values[0].max()
        if found == found:
            return found
    return builtins.max(*values, **options)


def _sessions(runtime: Any) -> Any:
    """What the executor takes for onnxruntime: a session of one thread for each model, made once."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    @functools.lru_cache(SESSIONS)
    def kept(model: bytes) -> Any:
        return runtime.InferenceSession(model, options)

    def session(model: Any, *rest: Any, **named: Any) -> Any:
        if rest or named or not isinstance(model, bytes):
            return runtime.InferenceSession(model, *rest, **named)
        return kept(model)

    return types.SimpleNamespace(**{**vars(runtime), "InferenceSession": session})


def install() -> None:
    """Let qonnx's passes and executor in this process remember."""
    import onnxruntime
    from qonnx.core import datatype, onnx_exec
    from qonnx.transformation import infer_datatypes
    from qonnx.util import basic

    infer: Any = infer_datatypes
    infer._infer_node_datatype = _inferring(infer._infer_node_datatype, basic)
    types_of: Any = datatype
    types_of.resolve_datatype = functools.lru_cache(1024)(types_of.resolve_datatype)
    executor: Any = onnx_exec
    executor.rt = _sessions(onnxruntime)
    functions: Any = basic
    functions.max = largest  # its module's own, before Python's

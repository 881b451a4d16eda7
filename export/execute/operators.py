"""ONNX and QONNX operators on torch tensors: ``(attributes, *inputs) -> output``, as their specifications say.

What an operator does not do as specified it refuses with a ``ProofError``: a wrong number would prove nothing.
"""

from collections.abc import Callable

import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional as F

from qtrain.export.errors import ProofError
from qtrain.export.execute.quantize import bipolar_quant, quant, trunc
from qtrain.export.execute.windows import (
    Attributes,
    average_pool,
    check_size,
    conv,
    max_pool,
    pad,
    pads_of_all_axes,
    text,
)

__all__ = ["AS_WRITTEN", "OPERATORS", "READ", "TIE", "Attributes", "Operator", "text", "tied", "top1"]

Operator = Callable[..., Tensor | tuple[Tensor, ...]]
TIE = 1e-9


def _arithmetic(operation: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operation of two tensors; on integers only where the result fits their type, since no type is to wrap."""

    def apply(_: Attributes, x: Tensor, y: Tensor) -> Tensor:
        check_size(torch.broadcast_shapes(x.shape, y.shape))
        if x.is_floating_point() or y.is_floating_point():
            return operation(x, y)
        out = operation(x.long(), y.long())
        limits = torch.iinfo(x.dtype)
        if out.numel() and not limits.min <= int(out.min()) <= int(out.max()) <= limits.max:
            raise ProofError(f"its result does not fit {x.dtype}")
        return out.to(x.dtype)

    return apply


def _divided(x: Tensor, y: Tensor) -> Tensor:
    """The quotient, of integers without its fraction."""
    if x.is_floating_point() or y.is_floating_point():
        return x / y
    return torch.div(x, y, rounding_mode="trunc")


def _mat_mul(_: Attributes, x: Tensor, y: Tensor) -> Tensor:
    if x.dim() > 1 and y.dim() > 1:
        check_size([*torch.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]])
    return x @ y


def _cast(a: Attributes, x: Tensor) -> Tensor:
    """Another type of float, all of which are executed in one.

    Raises:
        ProofError: it is to be a type that rounds.
    """
    if a["to"] not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise ProofError(f"a Cast to {TensorProto.DataType.Name(a['to'])} rounds, and is not executed")
    return x if x.is_floating_point() else x.double()


def _axis(a: Attributes, x: Tensor, default: int) -> int:
    """The attribute ``axis``, counted from the front.

    Raises:
        ProofError: ``x`` has no such axis.
    """
    axis = a.get("axis", default)
    if not -x.dim() <= axis <= x.dim():
        raise ProofError(f"there is no axis {axis} of {x.dim()}")
    return axis + x.dim() if axis < 0 else axis


def _joined(what: str) -> ProofError:
    return ProofError(f"{what} joins or reorders images, so it is executed only on as many as the graph declares")


def _concat(a: Attributes, *xs: Tensor) -> Tensor:
    if _axis(a, xs[0], 0) == 0:
        raise _joined("Concat along axis 0")
    images = max(len(x) for x in xs)  # a constant was exported for one image
    return _concat_as_written(a, *(x.expand(images, *x.shape[1:]) for x in xs))


def _concat_as_written(a: Attributes, *xs: Tensor) -> Tensor:
    axis = _axis(a, xs[0], 0)
    if any(x.dim() != xs[0].dim() for x in xs):  # torch.cat leaves out what is empty and of one axis
        raise ProofError(f"its inputs have {', '.join(str(x.dim()) for x in xs)} axes")
    check_size([sum(x.numel() for x in xs)])
    return torch.cat(xs, axis)


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    for name, limit in (("low", low), ("high", high)):
        if limit is not None and limit.numel() != 1:
            raise ProofError(f"Clip's {name} limit has {limit.numel()} values, not one")
    lowest = a.get("min") if low is None else low.reshape(())  # the attributes are those of opset 6
    highest = a.get("max") if high is None else high.reshape(())
    out = x if lowest is None else x.clamp(min=lowest)
    return out if highest is None else out.clamp(max=highest)


def _batch_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    if a.get("training_mode") or not a.get("spatial", 1):
        raise ProofError("a BatchNormalization in training mode or with spatial=0 is not executed")
    return F.batch_norm(x, mean, var, scale, bias, eps=a.get("epsilon", 1e-5))


def _gemm(a: Attributes, x: Tensor, y: Tensor, c: Tensor | None = None) -> Tensor:
    if x.dim() != 2 or y.dim() != 2:
        raise ProofError(f"Gemm takes two matrices, but they have {x.dim()} and {y.dim()} axes")
    x = x.T if a.get("transA") else x
    y = y.T if a.get("transB") else y
    out = a.get("alpha", 1.0) * _mat_mul(a, x, y)
    if c is None:
        return out
    if torch.broadcast_shapes(c.shape, out.shape) != out.shape:
        raise ProofError(f"Gemm's addend of {list(c.shape)} does not fit its product of {list(out.shape)}")
    return out + a.get("beta", 1.0) * c


def top1(logits: Tensor, axis: int = -1) -> Tensor:
    """Index of the largest value, the lowest one among equals, axis kept.

    Two classes with equal integer sums tie exactly in hardware, where the lower index wins; float64 leaves up to 1e-15
    between them, so that values closer than ``TIE`` count as equal. Distinct sums are a quantizer's step apart.
    """
    return tied(logits, axis).int().argmax(axis, keepdim=True)


def tied(logits: Tensor, axis: int = -1) -> Tensor:
    """Where the value equals the largest one, as bool of the same shape."""
    best = logits.amax(axis, keepdim=True)
    return logits >= best - TIE * best.abs().clamp(min=1)


def _pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
    everywhere = pads_of_all_axes(x, pads, axes)
    if everywhere[0] or everywhere[x.dim()]:
        raise _joined("Pad along axis 0")
    return pad(a, x, pads, value, axes)


def _top_k(a: Attributes, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    if _axis(a, x, -1) == 0 and x.dim() > 1:
        raise _joined("TopK along axis 0")
    return _top_k_as_written(a, x, k)


def _top_k_as_written(a: Attributes, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    axis = _axis(a, x, -1)
    if int(k) != 1 or not a.get("largest", 1):
        raise ProofError(f"TopK with k={int(k)}: only the largest one is executed")
    index = top1(x, axis)
    return x.gather(axis, index), index


def _new_shape(a: Attributes, x: Tensor, shape: Tensor) -> list[int]:
    """ONNX's, where 0 keeps a size unless ``allowzero``."""
    if a.get("allowzero", 0):
        return [int(n) for n in shape]
    return [x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape.tolist())]


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    """Reshape images of a graph that was written for one."""
    first, *others = _new_shape(a, x, shape)
    if first not in (1, -1, len(x)):
        raise _joined(f"Reshape to {shape.tolist()}")
    return x.reshape([len(x), *others])


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    if _axis(a, x, 1) != 1:
        raise _joined(f"Flatten from axis {a['axis']}")
    return x.flatten(1)


def _flatten_as_written(a: Attributes, x: Tensor) -> Tensor:
    axis = _axis(a, x, 1)
    return x.reshape(x.shape[:axis].numel(), x.shape[axis:].numel())


def _transpose(a: Attributes, x: Tensor) -> Tensor:
    if x.dim() > 1 and _order(a, x)[0] % x.dim() != 0:
        raise _joined(f"Transpose to {_order(a, x)}")
    return _transpose_as_written(a, x)


def _order(a: Attributes, x: Tensor) -> list[int]:
    return list(a["perm"]) if "perm" in a else list(reversed(range(x.dim())))


def _transpose_as_written(a: Attributes, x: Tensor) -> Tensor:
    return x.permute(_order(a, x))


# Where the images are as many as the graph declares, or none passes: no axis is set apart for them.
AS_WRITTEN: dict[str, Operator] = {
    "Reshape": lambda a, x, shape: x.reshape(_new_shape(a, x, shape)),
    "Flatten": _flatten_as_written,
    "Transpose": _transpose_as_written,
    "Concat": _concat_as_written,
    "Pad": pad,
    "TopK": _top_k_as_written,
}
OPERATORS: dict[str, Operator] = {
    "Add": _arithmetic(torch.add),
    "Sub": _arithmetic(torch.sub),
    "Mul": _arithmetic(torch.mul),
    "Div": _arithmetic(_divided),
    "Sqrt": lambda _, x: x.sqrt(),
    "Relu": lambda _, x: x.relu(),
    "Identity": lambda _, x: x,
    "Cast": _cast,
    "MatMul": _mat_mul,
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Conv": conv,
    "Gemm": _gemm,
    "BatchNormalization": _batch_norm,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "Pad": _pad,
    "Clip": _clip,
    "Concat": _concat,
    "GlobalAveragePool": lambda _, x: x.mean(dim=tuple(range(2, x.dim())), keepdim=True),
    "Quant": quant,
    "IntQuant": quant,  # its other name
    "BipolarQuant": bipolar_quant,
    "Trunc": trunc,
    "TopK": _top_k,
}
_WINDOW = frozenset(("auto_pad", "dilations", "kernel_shape", "pads", "strides"))
# The attributes that an operator reads, or may leave unread; one beside them may change what it computes.
READ: dict[str, frozenset[str]] = {
    **{name: frozenset() for name in ("Add", "Sub", "Mul", "Div", "Sqrt", "Relu", "Identity", "MatMul")},
    "BipolarQuant": frozenset(),
    "GlobalAveragePool": frozenset(),
    "Cast": frozenset(("saturate", "to")),
    "Transpose": frozenset(("perm",)),
    "Flatten": frozenset(("axis",)),
    "Reshape": frozenset(("allowzero",)),
    "Conv": _WINDOW | {"group"},
    "Gemm": frozenset(("alpha", "beta", "transA", "transB")),
    "BatchNormalization": frozenset(("epsilon", "momentum", "spatial", "training_mode")),
    "MaxPool": _WINDOW | {"ceil_mode", "storage_order"},
    "AveragePool": _WINDOW | {"ceil_mode", "count_include_pad"},
    "Pad": frozenset(("mode",)),
    "Clip": frozenset(("max", "min")),
    "Concat": frozenset(("axis",)),
    "Quant": frozenset(("narrow", "rounding_mode", "signed")),
    "IntQuant": frozenset(("narrow", "rounding_mode", "signed")),
    "Trunc": frozenset(("narrow", "rounding_mode", "signed")),
    "TopK": frozenset(("axis", "largest", "sorted")),
}

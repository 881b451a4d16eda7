"""Where quantizers must stand: in front of every layer that multiplies, and ONE on all branches of an addition."""

from qtrain.models.quantize.ops import Op, Plan

_MULTIPLY = ("conv", "linear", "head", "head_conv", "average", "flatten")
_QUANTIZE = ("image", "relu", "signed", "quantizer", "sum")
_PASS = ("max_pool", "flatten")


def quantize_streams(plan: Plan) -> None:
    """Add the quantizers that the activations of the float network leave out."""
    _drop_idle_relus(plan)
    _pool_behind_relus(plan)
    for members in _additions(plan):
        _share(plan, members)
    for op in list(plan.ops):
        if op.kind in _MULTIPLY and not is_quantized(op.source):
            _quantize(plan, op.source)


def is_quantized(op: Op) -> bool:
    """Tell whether an operation gives the integers of one quantizer."""
    if op.kind in _PASS:
        return is_quantized(op.source)
    if op.kind == "average":  # of integers; the layer behind it takes their sum
        return True
    return op.kind in _QUANTIZE


def is_signed(op: Op) -> bool:
    """Tell whether an operation may give values below zero."""
    if op.kind in (*_PASS, "average"):
        return is_signed(op.source)
    return op.kind != "relu"


def _drop_idle_relus(plan: Plan) -> None:
    """Take a ReLU out behind another one: it changes nothing."""
    for op in [op for op in plan.ops if op.kind == "relu" and "limit" not in op.options]:
        if not is_signed(op.source):
            plan.notes.append(f"{op.path}: a ReLU behind another one is left out")
            plan.remove(op)


def _pool_behind_relus(plan: Plan) -> None:
    """Let a max-pool in front of a ReLU change places with it: the result is the same, and integers are pooled."""
    for op in [op for op in plan.ops if op.kind == "relu" and op.source.kind == "max_pool"]:
        pool = op.source
        if is_quantized(pool) or len(plan.readers(pool)) > 1:
            continue
        plan.replace(op, pool, plan.readers(op))
        op.inputs = [pool.source]
        op.shape = pool.source.shape
        pool.inputs = [op]
        plan.ops.remove(op)
        plan.ops.insert(plan.ops.index(pool), op)
        plan.notes.append(f"{op.path}: the ReLU stands before the max-pool {pool.path}")


def _additions(plan: Plan) -> list[list[Op]]:
    """Group the additions: those that one addition alone reads belong to it, so that all streams share one scale."""
    groups: list[list[Op]] = []
    for op in plan.ops:
        if op.kind != "add":
            continue
        joined = [g for g in groups for s in op.inputs if s is g[-1] and plan.readers(s) == [op]]
        for group in joined:
            groups.remove(group)
        groups.append([*(member for group in joined for member in group), op])
    return groups


def _share(plan: Plan, members: list[Op]) -> None:
    """Put one quantizer on every stream that ends in a group of additions; it is called once for each."""
    last = members[-1]
    path = plan.new_path(last.path, "sum")
    streams: list[Op] = []
    for member in members:
        streams += [s for s in member.inputs if s not in members and s not in streams]
    for stream in streams:
        _put_on(plan, stream, path, members)
    names = ", ".join(stream.path or stream.kind for stream in streams)
    plan.notes.append(f"{path}: one signed quantizer on what is added ({names})")


def _put_on(plan: Plan, stream: Op, path: str, members: list[Op]) -> None:
    """Put a group's quantizer on a stream, in front of its additions and of layers that would get floats.

    Where layers read the quantized stream, the addition quantizes it once more, which changes nothing: FINN gets into a
    circle with a stream that forks into an addition and a layer at once.
    """
    layers = [r for r in plan.readers(stream) if r.kind in _MULTIPLY and not is_quantized(stream)]
    added = [r for r in plan.readers(stream) if r in members]
    if layers:
        quantized = plan.insert_after(stream, Op("sum", [stream], path, stream.shape))
        plan.replace(stream, quantized, layers + added)
        stream = quantized
    plan.replace(stream, plan.insert_after(stream, Op("sum", [stream], path, stream.shape)), added)


def _quantize(plan: Plan, stream: Op) -> None:
    """Put a signed quantizer behind a stream of floats, for all layers that multiply it."""
    group = stream.path.rpartition(".")[0] if stream.kind != "add" else stream.path
    path = plan.new_path(group, "quant")
    added = plan.insert_after(stream, Op("quantizer", [stream], path, stream.shape))
    plan.replace(stream, added, [r for r in plan.readers(stream) if r.kind in _MULTIPLY])
    plan.notes.append(f"{path}: a signed quantizer, since no activation stands in front of the layer that reads it")

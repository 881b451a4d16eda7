"""What each function and tensor method becomes; arithmetic is translated where the constants are known."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx

from qtrain.models.quantize import layers
from qtrain.models.quantize.ops import Op, Plan

Shape = tuple[int, ...]
_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_SHAPING = ("flatten", "view", "reshape", "squeeze", "unflatten")


def translate(plan: Plan, node: fx.Node, name: str, group: str, sources: list[Op], shape: Shape) -> Op:
    """Add a function's operation to the plan; one that FINN does not take is refused there.

    Args:
        plan: gets the operation.
        node: the call.
        name: of the function.
        group: path of the module in whose forward it stands.
        sources: what it reads.
        shape: of its output for one image.
    """
    make = _TABLE.get(name.removesuffix("_"))
    if make is None:
        return layers.refuse(plan, f"{group or 'forward'} ({node.name})", name, sources, shape)
    return make(plan, node, name, group, sources, shape)


def arguments(node: fx.Node, names: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a call behind the tensor, by name."""
    given = dict(zip(names, node.args[1:], strict=False))
    return given | {name: value for name, value in node.kwargs.items() if name in names}


def _relu(plan: Plan, node: fx.Node, name: str, group: str, sources: list[Op], shape: Shape) -> Op:
    path = plan.new_path(group, "relu")
    return layers.limited(plan, path, 0, 6.0 if "6" in name else None, sources, shape)


def _clamp(plan: Plan, node: fx.Node, name: str, group: str, sources: list[Op], shape: Shape) -> Op:
    limits = {"min_val": -1.0, "max_val": 1.0} if "tanh" in name else {}
    limits |= arguments(node, ("min_val", "max_val") if "tanh" in name else ("min", "max"))
    low = limits.get("min_val", limits.get("min"))
    high = limits.get("max_val", limits.get("max"))
    if low is None:
        return layers.refuse(plan, f"{group or 'forward'} ({node.name})", name, sources, shape, "a clamp from above")
    return layers.limited(plan, plan.new_path(group, "relu"), low, high, sources, shape)


def _max_pool(plan: Plan, node: fx.Node, name: str, group: str, sources: list[Op], shape: Shape) -> Op:
    return layers.max_pool(plan, plan.new_path(group, "pool"), arguments(node, _POOL), sources, shape)


def _adaptive_max_pool(plan: Plan, node: fx.Node, name: str, group: str, sources: list[Op], shape: Shape) -> Op:
    return layers.adaptive_max_pool(plan, plan.new_path(group, "pool"), sources, shape)


def _average(plan: Plan, node: fx.Node, name: str, group: str, sources: list[Op], shape: Shape) -> Op:
    given = arguments(node, ("kernel_size", "stride", "padding"))
    window = None if "adaptive" in name else (given["kernel_size"], given.get("padding", 0))
    return layers.average(plan, plan.new_path(group, "pool"), name, sources, shape, window)


def _mean(plan: Plan, node: fx.Node, name: str, group: str, sources: list[Op], shape: Shape) -> Op:
    """Translate the mean over height and width, which is a global average pool."""
    given = arguments(node, ("dim", "keepdim"))
    dims = given.get("dim")
    chosen = sorted(d % 4 for d in (dims if isinstance(dims, list | tuple) else [dims]) if isinstance(d, int))
    before = sources[0].shape
    if len(before) != 3 or chosen != [2, 3]:
        place = f"{group or 'forward'} ({node.name})"
        return layers.refuse(plan, place, name, sources, shape, f"a mean over the axes {dims}")
    pooled = plan.add(Op("average", sources, plan.new_path(group, "pool"), (before[0], 1, 1)))
    if given.get("keepdim"):
        return pooled
    return plan.add(Op("flatten", [pooled], plan.new_path(group, "flatten"), shape))


def _shaping(plan: Plan, node: fx.Node, name: str, group: str, sources: list[Op], shape: Shape) -> Op:
    before = sources[0].shape
    if name == "squeeze" and len(shape) == 2 and before == (shape[0], 1, 1):
        return sources[0]  # the first of two, squeeze(3).squeeze(2): the second one makes the row
    return layers.flatten(plan, plan.new_path(group, "flatten"), name, sources, shape)


def _softmax(plan: Plan, node: fx.Node, name: str, group: str, sources: list[Op], shape: Shape) -> Op:
    place = f"{group or 'forward'} ({node.name})"
    return plan.add(Op("softmax", sources, place, shape, options={"name": name}))


_TABLE: dict[str, Callable[..., Op]] = {
    **dict.fromkeys(("relu", "relu6"), _relu),
    **dict.fromkeys(("clamp", "clip", "hardtanh"), _clamp),
    "max_pool2d": _max_pool,
    "adaptive_max_pool2d": _adaptive_max_pool,
    **dict.fromkeys(("avg_pool2d", "adaptive_avg_pool2d"), _average),
    "mean": _mean,
    **dict.fromkeys(_SHAPING, _shaping),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
}

"""The last layer: FINN takes the class of integers times one scale, so nothing but one layer may stand at the end."""

from typing import Literal

import torch
from torch import Tensor, nn

from qtrain.models.quantize.ops import Op, Plan
from qtrain.models.quantize.pixels import NORMS


def make_head(plan: Plan) -> None:
    """Make the layer that the logits come from the head; what stands behind it is folded into it or left out."""
    while plan.output.kind == "softmax":
        plan.ending = plan.output.options["name"]
        plan.notes.append(f"{plan.output.path}: {plan.ending} is left out, the class is the same")
        plan.remove(plan.output)
    _fold_norm(plan)
    last = plan.output
    if last.kind == "linear":
        _become(plan, last, "head")
        return
    behind = []
    while last.kind in ("flatten", "average"):
        behind.append(last)
        last = last.source
    if last.kind == "conv" and _is_pointwise(last) and len(plan.readers(last)) == 1:
        _pool_first(plan, last, [op for op in behind if op.kind == "average"])
        _become(plan, last, "head_conv")


def _become(plan: Plan, op: Op, kind: Literal["head", "head_conv"]) -> None:
    op.kind = kind
    op.options["norm"] = plan.new_path(op.path.rpartition(".")[0], "norm_out")
    if op.options.pop("bias"):
        said = "its bias goes into its weights by calibration (FINN takes none in the last layer)"
        plan.notes.append(f"{op.path}: the last layer has no bias and one scale for all classes; {said}")


def _is_pointwise(op: Op) -> bool:
    conv = op.layer
    assert isinstance(conv, nn.Conv2d)
    return conv.kernel_size == (1, 1) and conv.stride == (1, 1) and not any(op.options["padding"]) and conv.groups == 1


def _pool_first(plan: Plan, conv: Op, pools: list[Op]) -> None:
    """Average in front of a 1x1 convolution instead of behind it, which is the same."""
    for pool in pools:
        plan.replace(pool, conv, plan.readers(pool))
        pool.inputs = [conv.source]
        pool.shape = (conv.source.shape[0], 1, 1)
        conv.inputs = [pool]
        conv.shape = (conv.shape[0], 1, 1)
        plan.ops.remove(pool)
        plan.ops.insert(plan.ops.index(conv), pool)
        plan.notes.append(f"{pool.path}: the average stands before the last layer {conv.path}, not behind it")


def _fold_norm(plan: Plan) -> None:
    """Fold a norm of the logits into the last layer: FINN keeps the class in software behind a norm."""
    norm = plan.output
    if norm.kind not in NORMS or norm.source.kind not in ("linear", "conv") or len(plan.readers(norm.source)) > 1:
        return
    last = norm.source
    last.options |= {"fold": norm.layer, "bias": True}
    plan.notes.append(f"{norm.path}: the norm of the logits is folded into {last.path}")
    plan.remove(norm)


def with_norm(op: Op, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a last layer with the norm behind it folded in."""
    norm = op.options.get("fold")
    if norm is None:
        return weight, bias
    spread = (norm.running_var + norm.eps).sqrt()
    gain = torch.ones_like(spread) if norm.weight is None else norm.weight.detach()
    gain = gain / spread
    offset = torch.zeros_like(spread) if norm.bias is None else norm.bias.detach()
    start = torch.zeros_like(spread) if bias is None else bias
    return weight * gain.reshape(-1, *[1] * (weight.dim() - 1)), (start - norm.running_mean) * gain + offset

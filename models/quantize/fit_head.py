"""The last layer fitted to the float network's logits, and what every fit shares."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from torch import Tensor, nn

from qtrain.models.layers import ScalarNorm
from qtrain.models.quantize.ops import Op, Plan
from qtrain.models.ranges import best_range

BATCH = 64
RIDGE = 1e-2  # of the features' mean square: how much the head keeps to its float weights


def batches(images: Tensor) -> Iterator[Tensor]:
    """Yield the images in [0, 1], some at a time."""
    for some in images.split(BATCH):
        yield some.float() / 255


@torch.no_grad()
def fit_weights(network: nn.Module) -> None:
    """Set each trained range of weights to the one with the least squared error."""
    for module in network.modules():
        if isinstance(module, QuantWeightBiasInputOutputLayer):
            learned = dict(module.named_parameters()).get("weight_quant.tensor_quant.scaling_impl.value")
            bits = int(module.weight_quant.bit_width())
            if learned is not None and bits > 1:
                best = best_range(module.weight, bits, per_channel=learned.dim() > 0)
                learned.copy_(best.log2().reshape(learned.shape))


@torch.no_grad()
def fit_head(network: nn.Module, float_network: nn.Module, plan: Plan, images: Tensor) -> None:
    """Fit the last layer's weights to the float logits, then its range and the norm of the logits."""
    heads = [op for op in plan.ops if op.kind in ("head", "head_conv")]
    if not heads:
        return
    op = heads[0]
    layer = cast(Any, network.get_submodule(op.path))
    features: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, given: features.append(given[0].flatten(1)))
    try:
        for batch in batches(images):
            network(batch)
    finally:
        hook.remove()
    wanted = torch.cat([float_network(batch) for batch in batches(images)])
    shape = layer.weight.shape
    layer.weight.copy_(_ridge(torch.cat(features), wanted, layer.weight.flatten(1)).reshape(shape))
    fit_weights(layer)
    _fit_logit_norm(network, op, images)


def _ridge(features: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return weights near the given ones whose products are near the wanted logits.

    What all classes have in common decides nothing, so that it is taken off.

    Args:
        features: [N, features].
        wanted: [N, classes].
        weight: [classes, features].
    """
    rows = features.double()
    start = weight.double()
    missing = wanted.double() - rows @ start.T
    missing = missing - missing.mean(1, keepdim=True)
    moments = rows.T @ rows / len(rows)
    moments.diagonal().add_(RIDGE * moments.diagonal().mean().clamp(min=1e-12))
    change = torch.linalg.solve(moments, rows.T @ missing / len(rows))
    return (start + change.T).to(weight)


def _fit_logit_norm(network: nn.Module, op: Op, images: Tensor) -> None:
    """Let the norm of the logits leave them as they are, and keep their spread in training."""
    norm = network.get_submodule(op.options["norm"])
    assert isinstance(norm, ScalarNorm)
    layer = network.get_submodule(op.path)
    logits: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, given, output: logits.append(cast(Tensor, output)))
    try:
        for batch in batches(images):
            network(batch)
    finally:
        hook.remove()
    everything = torch.cat(logits)
    norm.running_mean.fill_(everything.mean())
    norm.running_var.fill_(everything.var())
    norm.bias.fill_(everything.mean())
    norm.weight.fill_((everything.var() + norm.eps).sqrt())

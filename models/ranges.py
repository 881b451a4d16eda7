"""Ranges that fit what is known of a network: its weights, and the norms before its activations."""

from math import hypot

import torch
from brevitas.nn.quant_layer import QuantNonLinearActLayer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from qtrain.models.cnv import CNV
from qtrain.models.fully_connected import FullyConnected
from qtrain.models.network import Network
from qtrain.models.resnet import Block
from qtrain.models.resnet_pynq import RuntimeReLU

_CANDIDATES = 48  # ranges tried, from the largest magnitude down
_SAMPLE = 50_000  # weights looked at for a range


def best_range(weight: Tensor, bits: int, *, per_channel: bool = False) -> Tensor:
    """Range of a narrow signed quantizer with the least squared error on ``weight``.

    Args:
        weight: [outputs, ...].
        bits: 2 to 8.
        per_channel: one range for each output, [outputs, 1]; else [1, 1].
    """
    rows = weight.flatten(1) if per_channel else weight.reshape(1, -1)
    rows = rows[:, :: max(1, rows.numel() // _SAMPLE)]
    largest = rows.abs().amax(1, keepdim=True).clamp(min=1e-8)
    levels = 2 ** (bits - 1) - 1
    best = largest
    least = torch.full_like(largest, torch.inf)
    for i in range(_CANDIDATES):
        step = largest * (1 - i / _CANDIDATES) / levels
        error = ((rows / step).round().clamp(-levels, levels) * step - rows).square().sum(1, keepdim=True)
        best = torch.where(error < least, step * levels, best)
        least = torch.minimum(error, least)
    return best


def deviations(model: Network) -> dict[str, float]:
    """Of what each quantizer takes, as the norms before it say, by path; a fresh network's are 1, or grow alike.

    A residual network's stream grows at every addition until a norm in a shortcut starts it anew.
    """
    if isinstance(model, CNV | FullyConnected):  # their float twins limit activations to 1, where quantizers start
        return {}
    found: dict[str, float] = {}
    stream = 1.0
    for path, module in model.named_modules():
        if not path or isinstance(module, RuntimeReLU):
            continue
        if isinstance(module, Block):
            branch = _deviation(module.get_submodule(f"norm{module.depth}"))
            if len(module.shortcut):
                stream = _deviation(module.get_submodule("shortcut.norm"))
            found[f"{path}.sum"] = max(branch, stream)
            stream = hypot(branch, stream)
            found[f"{path}.act{module.depth}"] = stream
        elif isinstance(module, QuantNonLinearActLayer) and (norm := _norm_before(model, path)) is not None:
            stream = _deviation(norm) if "." not in path else stream
            found.setdefault(path, _deviation(norm))
    return found


def _deviation(norm: nn.Module) -> float:
    """Of a norm's output, all channels together."""
    assert isinstance(norm, _BatchNorm)
    return float((norm.weight.square() + norm.bias.square()).mean().sqrt()) if norm.affine else 1.0


def _norm_before(model: nn.Module, path: str) -> nn.Module | None:
    """The norm whose output a quantizer takes, a shortcut beside them not counted."""
    parent, _, name = path.rpartition(".")
    siblings = list(model.get_submodule(parent).named_children())
    before = siblings[: [sibling for sibling, _ in siblings].index(name)]
    while before and before[-1][0] == "shortcut":
        before.pop()
    return before[-1][1] if before and isinstance(before[-1][1], _BatchNorm) else None

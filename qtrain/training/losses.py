"""Losses by name, each the mean over a batch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def squared_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of ``max(0, 1 - t * y) ** 2`` over all logits, t = 1 for the label and -1 else (bnn_pynq's loss).

    Args:
        logits: float [N, classes].
        labels: int64 [N].
    """
    targets = torch.full_like(logits, -1.0).scatter_(1, labels[:, None], 1.0)
    return (1 - targets * logits).clamp(min=0).square().mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared_hinge": squared_hinge,
    "cross_entropy": F.cross_entropy,
}

"""Losses by name, each the mean over a batch, and what a recipe trains by: smoothed, or of mixed labels."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from qtrain.data.mixup import label_shares
from qtrain.recipe import Recipe


def squared_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of ``max(0, 1 - t * y) ** 2`` over all logits, t = 1 for the label and -1 else (bnn_pynq's loss).

    Args:
        logits: float [N, classes].
        labels: int64 [N].
    """
    targets = torch.full_like(logits, -1.0).scatter_(1, labels[:, None], 1.0)
    return (1 - targets * logits).clamp(min=0).square().mean()


def soft_squared_hinge(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return what ``squared_hinge`` is on average where the label is drawn; cross entropy of shares is that by itself.

    Args:
        logits: float [N, classes].
        labels: int64 [N], or the classes' shares of each, float [N, classes].
        smoothing: share of each label that is spread evenly over all classes.
    """
    classes = logits.shape[1]
    shares = labels if labels.is_floating_point() else label_shares(labels, classes)
    if smoothing:
        shares = shares * (1 - smoothing) + smoothing / classes
    as_other = (1 + logits).clamp(min=0).square()
    as_label = (1 - logits).clamp(min=0).square()
    return torch.lerp(as_other, as_label, shares).mean()


def soft_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return torch's cross entropy; arguments are those of ``soft_squared_hinge``."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared_hinge": squared_hinge,
    "cross_entropy": F.cross_entropy,
}
_SOFT = {"squared_hinge": soft_squared_hinge, "cross_entropy": soft_cross_entropy}


def training_loss(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss that a step minimises, of logits and what the batches give as labels.

    Validation and test have ``LOSSES[recipe.loss]``, whatever training is helped by.
    """
    if recipe.label_smoothing or recipe.mixup:
        return partial(_SOFT[recipe.loss], smoothing=recipe.label_smoothing)
    return LOSSES[recipe.loss]

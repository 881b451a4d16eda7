"""Mixup: pairs of images of a batch and their labels, mixed by shares that are drawn from (seed, epoch) alone.

An image's partner is the one at the mirrored place of its batch, so that the first goes with the last: the order of an
epoch is drawn already, and another shuffle would pair no more at random.

Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization" (arXiv 1710.09412).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_STREAM = 0x4D495855  # a stream of its own: order and crops are the same with and without mixup


def draw_shares(steps: int, *, seed: int, epoch: int, alpha: float) -> Tensor:
    """Draw the share of the first image of each pair, one for all pairs of a step as in the paper's own code.

    Args:
        steps: of the epoch.
        seed: of the run, 0 or more.
        epoch: 0 or more.
        alpha: both parameters of the Beta distribution, above 0.

    Returns:
        float32 [steps], 0 to 1.
    """
    rng = np.random.default_rng((_STREAM, seed, epoch))
    return torch.from_numpy(rng.beta(alpha, alpha, steps).astype(np.float32))


def label_shares(labels: Tensor, classes: int) -> Tensor:
    """Return labels, int64 [N], as the share that each class has of them, float32 [N, classes]; launches alone."""
    zeros = torch.zeros(len(labels), classes, device=labels.device)
    return zeros.scatter_(1, labels[:, None], 1.0)


def mixed(
    batch: tuple[Tensor, Tensor], mirrored: tuple[Tensor, Tensor], share: Tensor, classes: int
) -> tuple[Tensor, Tensor]:
    """Mix images and labels with their partners'.

    Args:
        batch: images, float [B, C, H, W], and labels, int64 [B].
        mirrored: the same of what lies at the mirrored places of the batch, in the batch's order; of a whole batch it
            is ``batch`` itself.
        share: float32 with one element, that ``batch`` keeps.
        classes: that there are.

    Returns:
        Images, and the classes' shares of each, float32 [B, classes].
    """
    images, labels = batch
    partners, other_labels = mirrored
    return (
        torch.lerp(partners.flip(0), images, share),
        torch.lerp(label_shares(other_labels, classes).flip(0), label_shares(labels, classes), share),
    )

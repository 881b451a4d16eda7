"""Colour jitter of a whole batch on its device; the factors are drawn from (seed, epoch) alone, as the crops are."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

_STREAM = 0x4A495454  # a stream of its own: crops and flips are the same with and without jitter
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601's luma


def draw_jitter(size: int, *, seed: int, epoch: int, strength: float) -> Tensor:
    """Draw the factors of one epoch.

    Args:
        size: N, number of images.
        seed: of the run, 0 or more.
        epoch: 0 or more.
        strength: j; factors are uniform in [max(0, 1 - j), 1 + j].

    Returns:
        float32 [N, 3]: brightness, contrast and saturation of the i-th image shown.
    """
    rng = np.random.default_rng((_STREAM, seed, epoch))
    return torch.from_numpy(rng.uniform(max(0.0, 1 - strength), 1 + strength, (size, 3)).astype(np.float32))


def colour_jitter(images: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, then contrast, then saturation of each image, each clamped to [0, 1].

    The order is fixed, where torchvision draws it: whole batches need no sorting then.

    Args:
        images: float [B, 3, H, W] in [0, 1].
        factors: float [B, 3] on the same device; 1 leaves what it stands for as it is.

    Returns:
        As ``images``.
    """
    brightness, contrast, saturation = (factor[:, None, None, None] for factor in factors.unbind(1))
    images = (images * brightness).clamp_(0, 1)
    mean = _grey(images).mean((2, 3), keepdim=True)
    images = torch.lerp(mean.expand_as(images), images, contrast).clamp_(0, 1)
    return torch.lerp(_grey(images).expand_as(images), images, saturation).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    return (images * _luma(images.dtype, images.device)).sum(1, keepdim=True)


@cache
def _luma(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Grey's weights [3, 1, 1]; made once a device, for each copy from the host waits for a GPU."""
    return torch.tensor(_GREY, dtype=dtype, device=device)[:, None, None]

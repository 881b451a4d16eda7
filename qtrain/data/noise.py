"""Noise on inputs, as an augmentation of signals: drawn from (seed, epoch, step) alone, on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_STREAM = 0x4E4F4953


def with_noise(inputs: Tensor, deviation: float, *, seed: int, epoch: int, step: int, images: slice) -> Tensor:
    """Return inputs with normal noise, kept in [0, 1].

    Args:
        inputs: float32 [B, C, H, W] in [0, 1], this rank's part of the step.
        deviation: of the noise, as a share of the range.
        seed: of the run.
        epoch: 0 or more.
        step: of the epoch, 0 or more.
        images: which of the epoch's inputs these are; the ranks of a run draw different noise.
    """
    rng = np.random.default_rng((_STREAM, seed, epoch, step, images.start))
    drawn = torch.from_numpy(rng.standard_normal(tuple(inputs.shape), np.float32))
    return inputs.add(drawn.to(inputs.device), alpha=deviation).clamp_(0, 1)

"""Learning rates that are pure functions of the epoch: constant, multi-step and cosine.

Each takes the epoch (counted from 0, may be fractional), the number of epochs of the run and the base learning rate.
"""

import math
from collections.abc import Sequence

from qtrain.errors import UserError


def constant(epoch: float, epochs: int, lr: float) -> float:
    """Return ``lr`` at every epoch.

    Args:
        epoch: The epoch, from 0.
        epochs: Epochs of the whole run.
        lr: Learning rate.

    Raises:
        UserError: A value out of range.
    """
    _check(epoch, epochs, lr)
    return lr


def multistep(epoch: float, epochs: int, lr: float, milestones: Sequence[float], gamma: float) -> float:
    """Return ``lr`` times ``gamma`` for every milestone that was reached (He et al. 2016; torch's MultiStepLR).

    Args:
        epoch: The epoch, from 0.
        epochs: Epochs of the whole run.
        lr: Base learning rate.
        milestones: Fractions of the run, each in (0, 1): 0.5 of 100 epochs takes effect from epoch 50 on.
        gamma: Factor at each milestone, above 0.

    Raises:
        UserError: A value out of range.
    """
    _check(epoch, epochs, lr)
    outside = [m for m in milestones if not 0 < m < 1]
    if outside:
        raise UserError(f"milestones are fractions of the epochs between 0 and 1, but got {outside[0]}")
    if not (math.isfinite(gamma) and gamma > 0):
        raise UserError(f"gamma must be a positive, finite number, but got {gamma}")
    # 0.55 * 100 is 55.00000000000001 in floats, and epoch 55 must be past it
    return lr * gamma ** sum(epoch >= m * epochs - 1e-9 for m in milestones)


def cosine(epoch: float, epochs: int, lr: float) -> float:
    """Return half a cosine from ``lr`` at epoch 0 to 0 at epoch ``epochs`` (Loshchilov and Hutter 2017, Eq. 5).

    Args:
        epoch: The epoch, from 0.
        epochs: Epochs of the whole run.
        lr: Base learning rate.

    Raises:
        UserError: A value out of range.
    """
    _check(epoch, epochs, lr)
    return lr * (1 + math.cos(math.pi * epoch / epochs)) / 2


def _check(epoch: float, epochs: int, lr: float) -> None:
    if epochs < 1:
        raise UserError(f"epochs must be at least 1, but got {epochs}")
    if not 0 <= epoch <= epochs:
        raise UserError(f"epoch must be from 0 to {epochs}, but got {epoch}")
    if not (math.isfinite(lr) and lr > 0):
        raise UserError(f"lr must be a positive, finite number, but got {lr}")

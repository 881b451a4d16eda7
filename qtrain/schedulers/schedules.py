"""Learning rates that are pure functions of the epoch.

Constant, multi-step, cosine with and without restarts, warm-up/stable/decay and one-cycle. Each takes the epoch
(counted from 0, may be fractional), the number of epochs of the run and the base learning rate.
"""

import math
from collections.abc import Sequence

from qtrain.errors import UserError

# 0.55 * 100 is 55.00000000000001 in floats, and epoch 55 must be past it.
_ROUNDING = 1e-9


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


def multistep(
    epoch: float, epochs: int, lr: float, milestones: Sequence[float], gamma: float | Sequence[float]
) -> float:
    """Return ``lr`` times a factor for every milestone that was reached (He et al. 2016; torch's MultiStepLR).

    Args:
        epoch: The epoch, from 0.
        epochs: Epochs of the whole run.
        lr: Base learning rate.
        milestones: Fractions of the run, each in (0, 1): 0.5 of 100 epochs takes effect from epoch 50 on.
        gamma: Factor at each milestone, above 0; a sequence has one for each, and they multiply up.

    Raises:
        UserError: A value out of range, or another number of factors than of milestones.
    """
    _check(epoch, epochs, lr)
    outside = [m for m in milestones if not 0 < m < 1]
    if outside:
        raise UserError(f"milestones are fractions of the epochs between 0 and 1, but got {outside[0]}")
    factors = gamma if isinstance(gamma, Sequence) else [gamma] * len(milestones)
    if len(factors) != len(milestones):
        raise UserError(
            f"gamma is one factor, or one for each of the {len(milestones)} milestones, but got {len(factors)}"
        )
    for factor in factors if isinstance(gamma, Sequence) else [gamma]:
        if not (math.isfinite(factor) and factor > 0):
            raise UserError(f"gamma must be a positive, finite number, but got {factor}")
    reached = [f for m, f in zip(milestones, factors, strict=True) if epoch >= m * epochs - _ROUNDING]
    return lr * math.prod(reached)


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


def cosine_restarts(
    epoch: float, epochs: int, lr: float, cycles: int = 7, growth: float = 2.0, floor: float = 1e-3
) -> float:
    """Return a cosine that starts again from ``lr``, each time for ``growth`` times as long.

    The defaults over 254 epochs are McDonnell's cycles of 2, 4, ..., 128 epochs from 0.1 to 1e-4 (arXiv 1802.08530);
    the rule is Loshchilov and Hutter's (2017, Equation 5; torch's CosineAnnealingWarmRestarts).

    Args:
        epoch: The epoch, from 0.
        epochs: Epochs of the whole run; the cycles fill it in any case, the last one ends with it.
        lr: Learning rate at the start of each cycle.
        cycles: Number of cycles, 1 or more.
        growth: Length of a cycle over that of the one before, above 0.
        floor: Rate at the end of each cycle as a fraction of ``lr``, 0 to 1.

    Raises:
        UserError: A value out of range.
    """
    _check(epoch, epochs, lr)
    if not (isinstance(cycles, int) and cycles >= 1):
        raise UserError(f"cycles must be a whole number, 1 or more, but got {cycles}")
    if not (math.isfinite(growth) and growth > 0):
        raise UserError(f"growth must be a positive, finite number, but got {growth}")
    _check_fraction("floor", floor)
    weights = [growth**i for i in range(cycles)]
    start, length = 0.0, float(epochs)
    for i, weight in enumerate(weights):
        start, length = epochs * sum(weights[:i]) / sum(weights), epochs * weight / sum(weights)
        if epoch < start + length - _ROUNDING:
            break
    position = min(max((epoch - start) / length, 0.0), 1.0)
    return lr * (floor + (1 - floor) * (1 + math.cos(math.pi * position)) / 2)


def wsd(epoch: float, epochs: int, lr: float, warmup: float = 0.05, decay: float = 0.2) -> float:
    """Return the warm-up/stable/decay schedule: a line from 0 up to ``lr``, ``lr``, a line down to 0.

    Hu et al. 2024, "MiniCPM" (arXiv 2404.06395), Section 4; the linear decay over a fifth of the run is Hägele et al.'s
    (2024, arXiv 2405.18392), who call it constant with cooldown.

    Args:
        epoch: The epoch, from 0.
        epochs: Epochs of the whole run.
        lr: Learning rate of the stable part.
        warmup: Fraction of the run in which the rate rises.
        decay: Fraction of the run in which it falls; 0 at epoch ``epochs``.

    Raises:
        UserError: A value out of range, or fractions of more than the run together.
    """
    _check(epoch, epochs, lr)
    _check_fraction("warmup", warmup)
    _check_fraction("decay", decay)
    if warmup + decay > 1 + _ROUNDING:
        raise UserError(f"warmup and decay are fractions of one run, at most 1 together, but got {warmup} and {decay}")
    if epoch < warmup * epochs - _ROUNDING:
        return lr * epoch / (warmup * epochs)
    if epoch > (1 - decay) * epochs + _ROUNDING:
        return lr * (epochs - epoch) / (decay * epochs)
    return lr


def one_cycle(epoch: float, epochs: int, lr: float, rise: float = 0.3, start: float = 25.0, end: float = 1e4) -> float:
    """Return one cycle of the rate: half a cosine up to ``lr``, and half a cosine down to next to nothing.

    Smith and Topin 2019, "Super-Convergence" (arXiv 1708.07120), in the shape and with the defaults of torch's
    OneCycleLR. The momentum, which torch's moves against the rate, stays as it is.

    Args:
        epoch: The epoch, from 0.
        epochs: Epochs of the whole run.
        lr: Learning rate at the peak.
        rise: Fraction of the run before the peak, above 0 and below 1.
        start: The rate at epoch 0 is ``lr / start``.
        end: The rate at epoch ``epochs`` is ``lr / start / end``.

    Raises:
        UserError: A value out of range.
    """
    _check(epoch, epochs, lr)
    if not 0 < rise < 1:
        raise UserError(f"rise must be a fraction of the run above 0 and below 1, but got {rise}")
    for name, value in (("start", start), ("end", end)):
        if not (math.isfinite(value) and value >= 1):
            raise UserError(f"{name} must be a finite number of 1 or more, but got {value}")
    peak = rise * epochs
    if epoch <= peak:
        return _half_cosine(lr / start, lr, epoch / peak)
    return _half_cosine(lr, lr / start / end, (epoch - peak) / (epochs - peak))


def _half_cosine(first: float, last: float, position: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * position)) / 2


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UserError(f"{name} must be a fraction from 0 to 1, but got {value}")


def _check(epoch: float, epochs: int, lr: float) -> None:
    if epochs < 1:
        raise UserError(f"epochs must be at least 1, but got {epochs}")
    if not 0 <= epoch <= epochs:
        raise UserError(f"epoch must be from 0 to {epochs}, but got {epoch}")
    if not (math.isfinite(lr) and lr > 0):
        raise UserError(f"lr must be a positive, finite number, but got {lr}")

"""Learning rates as exact decimals: what was meant by a float, without the noise of the arithmetic that it comes from.

The search ends a descent where ``c - step == 0`` in exact decimals. 0.1 * 3 is 0.30000000000000004: taken to the last
digit it would miss that zero and fall through the decades to 4e-17.
"""

import math
import warnings
from decimal import Context, Decimal

import torch
from torch import Tensor

from qtrain.errors import UserError

FLOAT_RANGE = (Decimal("5e-324"), Decimal("1e308"))
DIGITS = {torch.float64: 15, torch.float32: 7}  # significant ones that a number of this type carries for certain
# How far, relative to it, a schedule may end from the decimal of two digits that it was made for. Measured: torch's
# LinearLR over 5000 steps ends 2e-14 beside it (4e-6 in float32), OneCycleLR on straight lines 6e-12.
DRIFT = {torch.float64: 1e-11, torch.float32: 5e-6}
ALL_DIGITS = 17  # of a double: more than any narrower type carries


def exact_lr(lr: float | Tensor) -> Decimal:
    """Return the decimal that a learning rate stands for: 0.3 for 0.1 * 3, 0.1 for a float32 scalar of 0.1.

    What lies beyond 15 significant digits of a double, 7 of a float32, is rounded away, and so is what a schedule of
    many steps has added to a rate of two digits. A Python float that holds a float32's value is read as that.

    Args:
        lr: A number, a NumPy scalar or a tensor of one element.

    Raises:
        UserError: The learning rate is negative, NaN or infinite.
    """
    value = float(lr)
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f"a learning rate must be a positive, finite number, but got {value}")
    dtype = _dtype(lr)
    exact = _without_noise(value, dtype)
    if dtype == torch.float64 and _held(value, torch.float32) == value:  # item() of a tensor, float() of a scalar
        single = _without_noise(value, torch.float32)
        if _significant_digits(single) < min(DIGITS[torch.float32], _significant_digits(exact)):
            return single
    return exact


def starting_rate(lr: float | Tensor, snap: bool) -> Decimal:
    """Return the exact start of a search; one of more than two significant digits is kept, with a warning.

    Args:
        lr: The first group's learning rate.
        snap: Round it to one significant digit.

    Raises:
        UserError: It is not positive and finite.
    """
    start = exact_lr(lr)
    if start == 0:
        raise UserError("the first group's learning rate is ASLR's start and must be above 0, but got 0")
    one_digit = Context(prec=1).plus(start)
    if snap:
        return one_digit
    if _significant_digits(start) > 2:
        warnings.warn(
            f"ASLR starts from {float(start)}, and with more than two significant digits its search leaves the grid "
            f"and may fall through the decades; snap=True starts from {float(one_digit)}",
            stacklevel=3,
        )
    return start


def checked_bounds(min_lr: float | None, max_lr: float | None) -> tuple[Decimal, Decimal]:
    """Return the bounds of the centre as exact decimals within the range of a float.

    Raises:
        UserError: They exclude each other, or are not positive, finite numbers.
    """
    low = FLOAT_RANGE[0] if min_lr is None else max(exact_lr(min_lr), FLOAT_RANGE[0])
    high = FLOAT_RANGE[1] if max_lr is None else min(exact_lr(max_lr), FLOAT_RANGE[1])
    if low > high:
        raise UserError(f"min_lr must not be above max_lr, and max_lr above 0, but got {min_lr} and {max_lr}")
    return low, high


def _dtype(lr: float | Tensor) -> torch.dtype:
    """Return the floating-point type of a tensor or a NumPy scalar; float64 for anything else."""
    name = str(getattr(lr, "dtype", "float64")).removeprefix("torch.")
    dtype = getattr(torch, name, torch.float64)
    return dtype if dtype.is_floating_point else torch.float64


def _without_noise(value: float, dtype: torch.dtype) -> Decimal:
    """Return the decimal of the digits that ``dtype`` carries, or that of two digits which it has drifted from."""
    rounded = Context(prec=DIGITS.get(dtype, ALL_DIGITS)).plus(_shortest(value, dtype))
    plain = Context(prec=2).plus(rounded)
    if math.isclose(plain, rounded, rel_tol=DRIFT.get(dtype, 0.0)):
        return plain
    return rounded


def _shortest(value: float, dtype: torch.dtype) -> Decimal:
    """Return the decimal of the fewest digits that ``dtype`` holds as ``value``."""
    if dtype == torch.float64:
        return Decimal(repr(value))
    texts = (f"{value:.{digits}g}" for digits in range(1, ALL_DIGITS + 1))
    return Decimal(next(text for text in texts if _held(float(text), dtype) == value))


def _held(value: float, dtype: torch.dtype) -> float:
    return float(torch.tensor(value, dtype=dtype, device="cpu"))


def _significant_digits(number: Decimal) -> int:
    digits = "".join(map(str, number.as_tuple().digits))
    return len(digits.strip("0"))

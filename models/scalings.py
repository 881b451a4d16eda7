"""Where quantizers' ranges come from, by name, and the best range for normally distributed values; no torch here."""

from typing import Literal, get_args

from qtrain.errors import UserError

Scaling = Literal["constant", "learned", "statistics"]
SCALINGS: tuple[str, ...] = get_args(Scaling)

# Range in standard deviations with the least mean squared error for a normal distribution, by bits of a signed narrow
# quantizer (J. Max, "Quantizing for minimum distortion", 1960); a test integrates it again. Half a normal distribution,
# which a ReLU leaves, has the same optimum with one bit less.
_GAUSSIAN_RANGE = {2: 1.224, 3: 1.952, 4: 2.474, 5: 2.899, 6: 3.270, 7: 3.607, 8: 3.920, 9: 4.215}


def check_scaling(scaling: str) -> str:
    """Return ``scaling`` where it is a known kind, else raise a UserError."""
    if scaling not in SCALINGS:
        raise UserError(f"scaling must be one of auto, {', '.join(SCALINGS)}, but got {scaling!r}")
    return scaling


def gaussian_range(bits: int, *, signed: bool = True) -> float:
    """Best range for normally distributed values with standard deviation 1; for 1 bit signed that of 2."""
    return _GAUSSIAN_RANGE[max(2, bits if signed else bits + 1)]

"""Bit widths: which ones exist, and the error for the others."""

from qtrain.errors import UserError

MIN_BITS = 1
MAX_BITS = 8  # FINN keeps wider activations in software (thresholds grow as 2**bits)


def check_bits(what: str, bits: int) -> int:
    """Return ``bits`` where it is a whole number from 1 to 8.

    Raises:
        UserError: names ``what`` has the wrong width, the value and the allowed range.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not MIN_BITS <= bits <= MAX_BITS:
        raise UserError(f"{what} must have {MIN_BITS} to {MAX_BITS} bits, but got {bits!r}")
    return bits

"""Whether frames a second and a clock can be asked of an FPGA at all; nothing here needs torch."""

import math

from qtrain.errors import UserError

FASTEST_CLOCK_NS = 1.0  # 1 GHz: the clock networks of the boards' FPGAs end at 891 MHz
SLOWEST_CLOCK_NS = 1e6  # 1 kHz


def check_rates(target_fps: int, clock_ns: float) -> None:
    """See that a target and a clock are such that some FPGA can have.

    Args:
        target_fps: frames a second.
        clock_ns: clock period in nanoseconds.

    Raises:
        UserError: a number that is not positive, a clock that no FPGA has, or more than a frame a clock cycle.
    """
    if target_fps < 1:
        raise UserError(f"target_fps must be 1 frame a second or more, but got {target_fps!r}")
    if not 0 < clock_ns < math.inf:
        raise UserError(f"clock_ns must be above 0 nanoseconds, but got {clock_ns!r}")
    if not FASTEST_CLOCK_NS <= clock_ns <= SLOWEST_CLOCK_NS:
        raise UserError(
            f"clock_ns must be from {FASTEST_CLOCK_NS:g} (1 GHz, beyond any FPGA here) to {SLOWEST_CLOCK_NS:g} "
            f"nanoseconds, but got {clock_ns!r}; 5 to 20 are usual"
        )
    most = math.floor(1e9 / clock_ns)
    if target_fps > most:
        raise UserError(
            f"target_fps must be at most {most}, one frame in each clock cycle of {clock_ns:g} ns, but got "
            f"{target_fps!r}"
        )

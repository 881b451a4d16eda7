"""Exit statuses, and the line that goes with one that is not 0."""

import sys
from typing import NoReturn

from qtrain.training.progress import tell_error

COMPARISON_FAILED = 1
LINT_FAILED = 1
ESTIMATE_MISSED = 1
SWEEP_FAILED = 1
WRONG_INPUT = 2
PROOF_FAILED = 3
INTERRUPTED = 130
_MOST = 2000  # letters of a line
PIPE_CLOSED = 141  # as shells say of SIGPIPE


def fail(message: str, status: int, command: str = "") -> NoReturn:
    """End the program with one line on standard error.

    Args:
        message: what went wrong.
        status: of the exit.
        command: the line's end, which stays as it is, so that it can be pasted into a shell.
    """
    line = " ".join(message.split())
    if len(line) > _MOST:  # what was given may be of any length; what to do about it stands at the end
        line = f"{line[: _MOST // 2]} ... {line[-_MOST // 2 :]}"
    tell_error(f"qtrain: {line}{command}")
    sys.exit(status)

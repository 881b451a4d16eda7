"""The boundary to what others wrote: whatever a damaged graph or file raises becomes one line that names it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qtrain.errors import UserError, is_of_machine
from qtrain.export.errors import ProofError

DEBUG = "QTRAIN_DEBUG"  # set to anything, it lets the error through with its traceback


def first_line(error: BaseException) -> str:
    """An error's kind and its first line, cut to what can be read."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    kind = type(error).__name__
    return f"{kind}: {text[:200]}" if text else kind


@contextmanager
def one_line(path: Path, what: str = "read") -> Iterator[None]:
    """Turn an error of a library, or of ours, over a file into one line with the file's name and the error's kind.

    The error stays chained, and ``QTRAIN_DEBUG=1`` lets it through as it is: a fault of ours is not hidden.

    Args:
        path: of the file or folder at work.
        what: the participle that tells what could not be done with it.

    Raises:
        UserError: anything but an error that has its line already.
    """
    try:
        yield
    except (UserError, ProofError, BrokenPipeError):
        raise
    except Exception as error:
        if os.environ.get(DEBUG) or is_of_machine(error):
            raise
        raise UserError(
            f"{path} cannot be {what} ({first_line(error)}); write it anew, or see the traceback with {DEBUG}=1"
        ) from error

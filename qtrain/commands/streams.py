"""Standard streams that are closed, full, or read by nobody."""

import os
import sys


def open_streams() -> None:
    """Let a standard stream that was closed (``>&-``) go nowhere.

    Its number would else be given to the next file that is opened, and what somebody prints would end up there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))

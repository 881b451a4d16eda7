"""Standard streams that are closed, full, or read by nobody."""

import io
import os
import sys


def open_streams() -> None:
    """Let a standard stream that was closed (``>&-``) go nowhere.

    Its number would else be given to the next file that is opened, and what somebody prints would end up there. What a
    stream cannot encode is written in its place as an escape.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need be no characters, or none of the terminal's
            stream.reconfigure(errors="backslashreplace")

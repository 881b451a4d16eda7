"""One process a folder: what a killed command has left running may still save there when the next command comes."""

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qtrain.training import Interrupted

LOOK_EVERY = 0.1  # seconds


@contextmanager
def alone_in(folder: Path, stop: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Wait until no other process of this user and machine works on ``folder``, and keep them out inside.

    Nothing is written to the folder: one file of the temporary folder has a byte for each. The kernel frees it when
    the process ends, however it ends. It does not nest: a process works on one folder at a time.

    Args:
        folder: that is worked on; it need not exist.
        stop: asked while waiting; True gives up.

    Raises:
        Interrupted: ``stop`` said so.
    """
    byte = int.from_bytes(hashlib.sha256(str(folder.resolve()).encode()).digest()[:7], "big")
    path = Path(tempfile.gettempdir()) / f"qtrain-{os.getuid()}.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        while not _taken(file, byte):
            if stop():
                raise Interrupted(f"stopped while another process was at work on {folder}")
            time.sleep(LOOK_EVERY)
        yield
    finally:
        os.close(file)


def _taken(file: int, byte: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):  # which of the two it is depends on the system
        return False
    return True

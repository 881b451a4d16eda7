"""One process a folder: what a killed command has left running may still save there when the next command comes.

The kernel, or the file server, lets go of a lock when its process or machine has died, however that ended.
"""

import fcntl
import hashlib
import math
import os
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from qtrain.errors import UserError
from qtrain.interrupt import Interrupted

LOOK_EVERY = 0.1  # seconds
LOCK = ".lock"
_ON_LINUX = sys.platform == "linux"  # elsewhere, on BSD and macOS, the kernel's struct has another order


@contextmanager
def alone_in(folder: Path, stop: Callable[[], bool] = lambda: False, within: float = math.inf) -> Iterator[None]:
    """Wait until no other process of this user and machine works on ``folder``, and keep them out inside.

    Nothing is written to the folder or beside it. It does not nest: a process works on one folder at a time.

    Args:
        folder: that is worked on; it need not exist.
        stop: asked while waiting; True gives up.
        within: seconds to wait at most; 0 tries once.

    Raises:
        Interrupted: ``stop`` said so.
        TimeoutError: another process held it for ``within`` seconds.
    """
    file = _waited_for(partial(_byte_of, folder.resolve()), folder, stop, within)
    try:
        yield
    finally:
        os.close(file)


@contextmanager
def alone_on_storage(
    folder: Path, stop: Callable[[], bool] = lambda: False, within: float = math.inf, *, inside: bool = False
) -> Iterator[None]:
    """As ``alone_in`` for the processes of all machines that see ``folder``.

    The lock is a file while it is held: beside the folder, since that of a new run must not exist.

    Args:
        folder: that is worked on.
        stop: asked while waiting; True gives up.
        within: seconds to wait at most; 0 tries once.
        inside: the file is in the folder, which exists.

    Raises:
        Interrupted: ``stop`` said so.
        TimeoutError: another process held it for ``within`` seconds.
        OSError: the file system knows no locks.
    """
    path = folder / LOCK if inside else folder.with_name(f".{folder.name}{LOCK}")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _waited_for(partial(_locked, path), folder, stop, within)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: see _locked
        os.close(file)


@contextmanager
def held_folders() -> Iterator[Callable[[Path], bool]]:
    """Inside, tells of a folder whether another process of this user and machine holds it by ``alone_in``.

    It asks the kernel and takes nothing, so that nobody who comes meanwhile is refused. Not for a process that works on
    a folder itself: its own lock it does not see, and at the end it would let go of it.
    """
    try:
        file = os.open(_bytes_file(), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # nobody has locked anything yet
        yield lambda folder: False
        return
    try:
        yield lambda folder: _is_held(file, _byte(folder.resolve()))
    finally:
        os.close(file)


def _is_held(file: int, byte: int) -> bool:
    """Whether another process has locked a byte."""
    if _ON_LINUX:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind, *_ = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, asked))
    else:
        asked = struct.pack("qqihh", byte, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
        *_, kind, _ = struct.unpack("qqihh", fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK)


@contextmanager
def or_refuse(lock: AbstractContextManager[None], folder: Path) -> Iterator[None]:
    """Hold ``lock`` of ``folder``, which does not wait.

    Raises:
        UserError: another process holds it.
    """
    with ExitStack() as held:
        try:
            held.enter_context(lock)
        except TimeoutError:
            raise UserError(f"another process is at work in {folder}; wait for it, or end it first") from None
        yield


def _waited_for(take: Callable[[], int | None], folder: Path, stop: Callable[[], bool], within: float) -> int:
    """The open file that ``take`` has locked."""
    last = time.monotonic() + within
    while (file := take()) is None:
        if stop():
            raise Interrupted(f"stopped while another process was at work on {folder}")
        if time.monotonic() > last:
            raise TimeoutError(f"another process has been at work on {folder} for {within:g} seconds")
        time.sleep(LOOK_EVERY)
    return file


def _byte_of(folder: Path) -> int | None:
    """A file of the temporary folder with the folder's byte locked, if nobody else holds it."""
    byte = _byte(folder)
    flags = fcntl.LOCK_EX | fcntl.LOCK_NB
    return _taken(_bytes_file(), os.O_NOFOLLOW, lambda file: fcntl.lockf(file, flags, 1, byte))


def _byte(folder: Path) -> int:
    """The byte that stands for a folder, of which no link is left."""
    return int.from_bytes(hashlib.sha256(os.fsencode(folder)).digest()[:7], "big")


def _bytes_file() -> Path:
    """The file whose bytes stand for this user's folders on this machine."""
    return Path(tempfile.gettempdir()) / f"qtrain-{os.getuid()}.lock"


def _locked(path: Path) -> int | None:
    """The locked file, if nobody else holds it and it was not deleted by its last holder in between."""

    def lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file), os.stat(path)):
            raise FileNotFoundError

    return _taken(path, 0, lock)


def _taken(path: Path, flags: int, lock: Callable[[int], None]) -> int | None:
    file = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    try:
        lock(file)
    except (BlockingIOError, PermissionError, FileNotFoundError):  # which of the first two depends on the system
        os.close(file)
        return None
    except BaseException:
        os.close(file)
        raise
    return file

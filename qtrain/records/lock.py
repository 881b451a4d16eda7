"""One process a folder: what a killed command has left running may still save there when the next command comes.

The lock is a file where the data lie, so that whoever sees the data sees it: other users, containers, machines of one
file server. The kernel, or the file server, lets go of it when its process or machine has died, however that ended. The
file is then left over; it is free, and the next holder takes it away.
"""

import errno
import fcntl
import math
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from qtrain.errors import UserError
from qtrain.interrupt import Interrupted

LOOK_EVERY = 0.1  # seconds
MOST_TRIES = 100  # to open a lock whose folder others take away
LOCK = ".lock"
_ON_LINUX = sys.platform == "linux"  # elsewhere, on BSD and macOS, the kernel's struct has another order
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_BUSY = (errno.EAGAIN, errno.EACCES)  # which one depends on the system
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
_mine: dict[str, tuple[int, int]] = {}  # locks, had or not to be had: process and thread that hold each


@contextmanager
def alone_in(
    folder: Path,
    stop: Callable[[], bool] = lambda: False,
    within: float = math.inf,
    *,
    beside: bool = False,
    again: bool = False,
    say: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Wait until nobody else works on ``folder``, and keep others out inside: processes, threads, users, machines.

    Where ``folder`` may not be written to, there is nothing to
    keep others from, and no lock.

    Args:
        folder: that is worked on. It is made where it is missing, and goes again if it is empty at the end. Whoever
            clears it meanwhile spares ``LOCK``.
        stop: asked while waiting; True gives up.
        within: seconds to wait at most; 0 tries once.
        beside: the lock is ``.NAME.lock`` beside the folder, which may be missing, replaced, or be a file.
        again: the thread may hold it already.
        say: told where the file system knows no locks, and the work goes on without; None refuses to.

    Raises:
        Interrupted: ``stop`` said so.
        TimeoutError: another held it for ``within`` seconds.
        UserError: it cannot be made, or the file system knows no locks and ``say`` is None.
    """
    path = _lock_of(folder, beside)
    here = (os.getpid(), threading.get_ident())  # a forked process has a copy of the table
    if (again and _mine.get(str(path)) == here) or (folder.exists() and not folder.is_dir() and not beside):
        yield
        return
    made = [place for place in (path.parent, *path.parent.parents) if not place.exists()]
    try:
        file = _waited_for(path, folder, stop, within, say)
        _mine[str(path)] = here
        try:
            yield
        finally:
            del _mine[str(path)]
            if file is not None:
                _let_go(file, path)
    finally:
        for place in made:
            with suppress(OSError):  # it is in use, or gone
                place.rmdir()


@contextmanager
def held_folders() -> Iterator[Callable[[Path], bool]]:
    """Inside, tells of a folder whether somebody holds it by ``alone_in``, here or on another machine.

    It asks the kernel and takes nothing, so that nobody who comes meanwhile is refused; nothing is written.
    """
    yield lambda folder: is_held(_lock_of(folder, beside=False))


@contextmanager
def only_here(
    folder: Path, *, beside: bool = False, again: bool = False, say: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold ``folder`` as ``alone_in`` does, or refuse at once.

    Raises:
        UserError: somebody else holds it, or as ``alone_in``.
    """
    with ExitStack() as held:
        try:
            held.enter_context(alone_in(folder, within=0, beside=beside, again=again, say=say))
        except TimeoutError:
            raise UserError(f"another process is at work in {folder}; wait for it, or end it first") from None
        yield


def _lock_of(folder: Path, beside: bool) -> Path:
    """Return the file that stands for a folder, by its one path without links."""
    place = folder.resolve()
    return place.with_name(f".{place.name}{LOCK}") if beside else place / LOCK


def _waited_for(
    path: Path, folder: Path, stop: Callable[[], bool], within: float, say: Callable[[str], None] | None
) -> int | None:
    """Return the locked file; None where there is nothing to be locked, or no lock to be had."""
    last = time.monotonic() + within
    while True:
        try:
            file = _opened(path, folder)
            if file is None or _locked(file, path):
                return file
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if say is None:
                raise UserError(
                    f"{folder} lies on storage that knows no locks ({error.strerror}); take another folder"
                ) from None
            say(f"{folder} lies on storage that knows no locks: see to it that nothing else writes there meanwhile")
            return None
        if stop():
            raise Interrupted(f"stopped while another process was at work on {folder}")
        if time.monotonic() > last:
            raise TimeoutError(f"another process has been at work on {folder} for {within:g} seconds")
        time.sleep(LOOK_EVERY)


def _opened(path: Path, folder: Path) -> int | None:
    """Open the lock's file, made with its folder where it is missing; return None where nothing may be written there.

    Raises:
        BlockingIOError: it is another user's, and held.
        UserError: the folder cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    left = MOST_TRIES
    while True:
        left -= 1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, flags, 0o644)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and left:
                continue  # its last holder has taken the folder away in between; /proc says so of all that is made
            if error.errno in _NOT_OURS and path.parent.is_dir():
                if is_held(path):
                    raise BlockingIOError from None
                return None
            raise UserError(f"cannot write to {folder} ({error.strerror}); name another folder") from None
        with suppress(OSError):
            if os.stat(path.parent).st_mode & 0o022 and os.fstat(file).st_uid == os.geteuid():
                os.fchmod(file, 0o666)  # who may write to the folder may hold it
        return file


def _locked(file: int, path: Path) -> bool:
    """Lock an open file, or close it, where somebody holds it or its last holder has deleted it in between."""
    try:
        _set(file, fcntl.F_WRLCK)
        if os.path.samestat(os.fstat(file), os.stat(path)):
            return True
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in _BUSY:
            os.close(file)
            raise
    os.close(file)
    return False


def _let_go(file: int, path: Path) -> None:
    """Delete the lock's file while it is held, so that nobody deletes another's; then free it."""
    with suppress(OSError):
        path.unlink()
    with suppress(OSError):
        _set(file, fcntl.F_UNLCK)  # a forked process may have it open still
    os.close(file)


def _set(file: int, kind: int) -> None:
    """Lock or free the whole of a file for whoever has opened it; unlike POSIX's own, not for the whole process."""
    if _ON_LINUX:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _asked(kind))
    else:
        fcntl.flock(file, fcntl.LOCK_UN if kind == fcntl.F_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path) -> bool:
    """Whether somebody has locked a file, as far as the kernel or the file server tells."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # nobody has
        return False
    try:
        command = fcntl.F_OFD_GETLK if _ON_LINUX else fcntl.F_GETLK
        answer = fcntl.fcntl(file, command, _asked(fcntl.F_WRLCK))
    except OSError:  # no locks here
        return False
    finally:
        os.close(file)
    kind = struct.unpack("hhqqi4x", answer)[0] if _ON_LINUX else struct.unpack("qqihh", answer)[3]
    return bool(kind != fcntl.F_UNLCK)


def _asked(kind: int) -> bytes:
    """Return the kernel's struct for a lock of a whole file."""
    if _ON_LINUX:
        return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)
    return struct.pack("qqihh", 0, 0, 0, kind, os.SEEK_SET)

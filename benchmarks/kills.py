"""Ends a process by SIGKILL at any of its file-system events: no handler, no ``finally`` and no buffer is left to it.

A warm process forks, so that a trial costs what its command costs and no imports. Events are what Python's audit hooks
tell (files opened for writing, renamed, deleted; folders made and deleted), every fsync, and every write: one that is
chosen is torn, half of it is on disk. Those of programs that a command starts are not seen.
"""

import builtins
import io
import math
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

AUDITED = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
TENTHS = 10  # of a second


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: of its exit; None where it was killed.
        events: that it had below the folder; 0 where it was killed.
        said: on both outputs.
    """

    status: int | None
    events: int
    said: str

    @property
    def killed(self) -> bool:
        """Whether it was."""
        return self.status is None


class Killer:
    """Counts this process's events below a folder, and ends the process before one of them, or in the middle of it.

    Args:
        root: the folder.
        at: number of the event, from 1; 0 is none.
    """

    def __init__(self, root: Path, at: int):
        self.events = 0
        self._root = str(root.resolve()) + os.sep
        self._at = at
        self._lock = threading.RLock()  # a run saves in a thread of its own
        self._open: Callable[..., Any] = builtins.open
        self._fsync = os.fsync

    def install(self) -> None:
        """Look at all that this process does from now on."""
        builtins.open = io.open = self._opened  # type: ignore[assignment]
        os.fsync = self._synced
        sys.addaudithook(self._audited)

    def event(self, torn: Callable[[], None] = lambda: None) -> None:
        """Count one; at the one that was asked for, do ``torn`` and end."""
        with self._lock:
            self.events += 1
            if self.events == self._at:
                torn()
                self.end()

    def end(self) -> None:
        """End this process."""
        os.kill(os.getpid(), signal.SIGKILL)

    def _audited(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            writes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and self._is_below(args[0], -1):
                self.event()
        elif event in AUDITED:
            folder = args[-1] if isinstance(args[-1], int) else -1
            if self._is_below(args[0], folder):
                self.event()

    def _is_below(self, path: Any, folder: int) -> bool:
        if isinstance(path, int):
            path = f"/proc/self/fd/{path}"
        try:
            place = os.fsdecode(path)
            if folder >= 0:
                place = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), place)
        except (OSError, TypeError):
            return False
        return os.path.abspath(place).startswith(self._root)

    def _synced(self, file: Any) -> None:
        self.event()
        self._fsync(file)

    def _opened(self, file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        opened = self._open(file, mode, *args, **options)
        if set(mode) & set("wax+") and self._is_below(file, -1):
            return _Torn(opened, self)
        return opened


class _Torn:
    """A file whose writes are events."""

    def __init__(self, file: Any, killer: Killer):
        self._file = file
        self._killer = killer

    def write(self, content: Any) -> Any:
        """Write, or half of it where the process ends here."""

        def half() -> None:
            self._file.write(content[: len(content) // 2])
            self._file.flush()

        self._killer.event(half)
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Torn":
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._file.__exit__(*error)

    def __iter__(self) -> Any:
        return iter(self._file)


def run(what: Callable[[], Any], root: Path, at: int = 0) -> Ended:
    """Do something in a forked process that works in ``root``, killed at an event.

    Args:
        what: ends by itself, or by SystemExit as a command does.
        root: the folder whose events count.
        at: number of the event, from 1; 0 kills it at none.
    """
    return _forked(what, root, at, waited)


def run_for(what: Callable[[], Any], root: Path, at: int = 0) -> Ended:
    """Do something as ``run`` does, killed by the clock: whatever it waits for then, a compiler perhaps.

    Args:
        what: ends by itself, or by SystemExit as a command does.
        root: the folder that it works in.
        at: tenths of a second after which it is killed, from 1; 0 for never.

    Returns:
        How it ended; the tenths of a second that it took stand for its events.
    """
    begun = time.monotonic()
    ended = _forked(what, root, 0, partial(waited, seconds=at / TENTHS or None))
    return ended if ended.killed else replace(ended, events=math.ceil((time.monotonic() - begun) * TENTHS))


def waited(child: int, seconds: float | None = None) -> int:
    """Wait for a process, which is killed after so many seconds; return its status as the system gives it."""
    until = math.inf if seconds is None else time.monotonic() + seconds
    while True:
        done, ended = os.waitpid(child, 0 if seconds is None else os.WNOHANG)
        if done:
            return ended
        if time.monotonic() >= until:
            os.kill(child, signal.SIGKILL)
            until = math.inf
        time.sleep(0.005)


def _forked(what: Callable[[], Any], root: Path, at: int, wait: Callable[[int], int]) -> Ended:
    said, counted = (os.memfd_create(name) for name in ("said", "counted"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for stream in (1, 2):
                os.dup2(said, stream)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # pytest's may write elsewhere
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            os.chdir(root)
            random.seed(0)  # qonnx draws the names of tensors, which stay in an export's early stages
            killer = Killer(root, at)
            killer.install()
            status = _status_of(what)
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(counted, str(killer.events).encode())
        finally:
            os._exit(status)
    ended = wait(child)
    was_killed = os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL
    count = _content(counted)
    return Ended(None if was_killed else os.waitstatus_to_exitcode(ended), int(count or 0), _content(said))


def _status_of(what: Callable[[], Any]) -> int:
    try:
        what()
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _content(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(file, "rb") as opened:
        return opened.read().decode(errors="replace")

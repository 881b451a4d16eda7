"""A command in a forked process with limits: what it said, how it ended, and what of that is a fault."""

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from qtrain.cli import main

STATUSES = (0, 1, 2, 3)
_POLL_S = 0.01
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_WORDS = 4000  # characters of the line that a refusal is


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: of its exit; None where it had none: a traceback, a signal, a limit.
        out: its standard output.
        err: its standard error.
        limit: that it ran into, or the signal that ended it; nothing where neither did.
    """

    status: int | None
    out: str
    err: str
    limit: str = ""

    @property
    def fault(self) -> str | None:
        """What is wrong with that; None where nothing is."""
        if self.limit:
            return self.limit
        if self.status is None or "Traceback" in self.err:
            return "traceback"
        if self.status not in STATUSES:
            return f"status {self.status}"
        lines = [line for line in self.err.splitlines() if line.startswith("qtrain: ")]
        if self.status >= 2 and len(lines) != 1:
            return f"{len(lines)} lines"
        if any(len(line) > _MOST_WORDS for line in lines):
            return "a line of thousands of letters"
        steering = {letter for letter in self.out + self.err if not (letter.isprintable() or letter in "\n\t")}
        return f"control characters {sorted(steering)!r}" if steering else None


def command(words: list[str], seconds: float, mib: int) -> Ended:
    """Run a command of qtrain in a child of this process.

    Args:
        words: behind ``qtrain``.
        seconds: that it may compute, or wait.
        mib: of memory that it may allocate beyond what this process has.
    """
    return in_child(lambda: main(words), seconds, mib)


def in_child(action: Callable[[], Any], seconds: float, mib: int) -> Ended:
    """Run ``action`` in a child of this process; its status is that of ``SystemExit``, else 0."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            _be_child(action, out, err, mib)
        status, limit = _wait(child, seconds)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
    is_exit = not limit and os.WIFEXITED(status) and os.WEXITSTATUS(status) != _TRACEBACK
    if not limit and os.WIFSIGNALED(status):
        limit = f"signal {os.WTERMSIG(status)}"
    return Ended(os.WEXITSTATUS(status) if is_exit else None, *texts, limit)


_TRACEBACK = 99


def _be_child(action: Callable[[], Any], out: IO[bytes], err: IO[bytes], mib: int) -> None:
    """Act in the place of this process, and end it."""
    status = _TRACEBACK
    try:
        for number, file in ((1, out), (2, err)):
            os.dup2(file.fileno(), number)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace")
        with open("/proc/self/statm") as pages:
            now = int(pages.read().split()[0]) * _PAGE
        resource.setrlimit(resource.RLIMIT_AS, (now + (mib << 20), resource.RLIM_INFINITY))
        try:
            action()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _wait(child: int, seconds: float) -> tuple[int, str]:
    """Wait for a child; end it where it has computed for so long, or slept: a busy machine alone ends none."""
    last = 0.0
    waits_since = time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status, ""
        computed, sleeps = _progress(child)
        if computed > last or not sleeps:
            last = computed
            waits_since = time.monotonic()
        if computed > seconds or time.monotonic() - waits_since > seconds:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1], f"hang: over {seconds:g} s"
        time.sleep(_POLL_S)


def _progress(child: int) -> tuple[float, bool]:
    """Return the seconds that a process has computed, and whether it waits for something."""
    with open(f"/proc/{child}/stat") as file:
        state, *numbers = file.read().rpartition(")")[2].split()
    ticks = int(numbers[10]) + int(numbers[11])
    return ticks / _TICKS_A_SECOND, state == "S"

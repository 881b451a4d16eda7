"""Run a command so that nothing of it is left behind: its own session, its output in a file, a limit in seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_group(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, timeout_s: float) -> int | None:
    """Run a command with its children and wait for it.

    Whatever way this ends (exit, time over, Ctrl-C, another error), the whole process group is killed first.
    The command's standard input is a pipe that stays open as long as the caller lives.

    Args:
        command: program and arguments.
        env: the complete environment; nothing else is inherited.
        cwd: working folder.
        log: file that takes standard output and errors.
        timeout_s: seconds until the group is killed.

    Returns:
        The exit status (negative: the signal that ended it), or None where the time was over.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,  # Ctrl-C at the terminal then reaches the caller alone, which ends the group
        )
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

"""Many builds by the real compiler from one import of it: each build is a fork of a process that has it loaded.

Importing finn-plus takes two thirds of a small network's build. What a build does is the worker's own code
(``qtrain/export/compiler/_worker.py``), in a process of its own, with the environment that ``estimate_build`` gives it.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qtrain.export.compiler import start as compiler

POLL_S = 0.02


class WarmCompiler:
    """Takes the place of the compiler's fresh processes in this one, which must have no other threads at work.

    Raises:
        RuntimeError: finn-plus cannot be imported here; says why.
    """

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="qtrain-warm-")
        kept = dict(os.environ)
        os.environ.update(compiler.compiler_environment(Path(self._home.name)))  # FINN reads it as it is imported
        self._worker: Any = self._load()
        missing = self._worker.unusable(self._worker.versions())
        os.environ.clear()
        os.environ.update(kept)
        if missing:
            raise RuntimeError(missing)
        compiler.run_group = self.run  # type: ignore[assignment]

    @staticmethod
    def _load() -> Any:
        spec: Any = importlib.util.spec_from_file_location("_finn_worker", compiler.WORKER)
        worker = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(worker)
        return worker

    def run(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, timeout_s: float
    ) -> int | None:
        """Build what the command's request asks for; as ``run_group``, which it stands in for.

        Returns:
            The exit status, None where the time was up.
        """
        child = os.fork()
        if child == 0:
            self._build(command, env, cwd, log)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(POLL_S)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None

    def _build(self, command: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path) -> None:
        """Be the worker, in the forked process; never returns."""
        status = 1
        try:
            os.setsid()
            with log.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.environ.clear()
            os.environ.update(env)
            os.chdir(cwd)
            sys.argv = list(command[3:])
            self._worker.end_with_parent = lambda: None  # the caller waits for it
            self._worker.main()
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)

"""Ends the processes that a command starts for its jobs, by SIGKILL at any of their file-system events.

The command itself lives: it tells of a worker that has died, or begins its task again on the Ray cluster. What a worker
had of events, or that it was killed, it tells in a file outside of the folder.
"""

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.kills import Ended, Killer, run

KILLED = "killed"


class _Teller(Killer):
    """A killer that leaves a line in a file before it ends its process."""

    def __init__(self, root: Path, at: int, told: Path):
        super().__init__(root, at)
        self._told = told

    def end(self) -> None:
        """Tell of it, and end."""
        tell(self._told, KILLED)
        super().end()


def tell(told: Path, word: object) -> None:
    """Add a line, whole among those of other processes."""
    file = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{word}\n".encode())
    os.close(file)


def work_watched(root: Path, at: int, told: Path, *args: Any) -> None:
    """Be a spawned worker that is killed at an event."""
    from qtrain.engines.worker import work

    killer = _Teller(root, at, told)
    killer.install()
    work(*args)
    tell(told, killer.events)


def run_on_node_watched(root: Path, at: int, told: Path, packed: bytes, attempt: Any, *args: Any) -> Any:
    """Be a Ray task that is killed at an event where it is begun for the first time."""
    from qtrain.engines.ray_node import run_on_node

    killer = _Teller(root, 0 if attempt.number else at, told)
    killer.install()
    outcome = run_on_node(packed, attempt, *args)
    tell(told, killer.events)
    return outcome


def _on_processes(*watch: Any) -> None:
    from qtrain.engines import processes

    processes.work = functools.partial(work_watched, *watch)  # type: ignore[assignment]


def _on_ray(*watch: Any) -> None:
    from qtrain.engines import ray_node

    def run_here(*args: Any) -> Any:
        from benchmarks.worker_kills import run_on_node_watched

        return run_on_node_watched(*watch, *args)

    ray_node.run_on_node = run_here


def run_killing_workers(what: Callable[[], Any], root: Path, at: int = 0, *, on_ray: bool = False) -> Ended:
    """Do something in a forked process whose workers are killed, each at its event.

    Args:
        what: ends by itself, or by SystemExit as a command does.
        root: the folder that it works in, and whose events count.
        at: number of the event of a worker, from 1; 0 kills none.
        on_ray: whether its workers are those of a Ray cluster.

    Returns:
        How the process ended, as killed where a worker was; the most events that a worker had.
    """
    with tempfile.TemporaryDirectory() as place:
        told = Path(place) / "told"
        watch = (root.resolve(), at, told)

        def watched() -> None:
            (_on_ray if on_ray else _on_processes)(*watch)
            what()

        ended = run(watched, root)
        words = told.read_text().split() if told.exists() else []
    if KILLED in words:
        return Ended(None, 0, ended.said)
    return Ended(ended.status, max(map(int, words), default=0), ended.said)

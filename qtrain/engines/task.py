"""Where tasks run: one after the other here, side by side in processes, or on a Ray cluster.

An engine takes tasks and yields each with what came of it, in the order of their ends. What a task raises ends the
others too, after they have saved themselves; a task whose process or machine dies is yielded with ``Died``, and the
others go on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from qtrain.interrupt import Interrupted
from qtrain.records.lock import alone_in
from qtrain.training.progress import Watcher, tell

Told = Callable[[str, dict[str, Any]], None]


class Task(Protocol):
    """Something to run, wherever: picklable, and repeatable, since it goes on where its folder says that it stopped."""

    @property
    def name(self) -> str:
        """What a person calls it; unique among the tasks of a call."""

    @property
    def folder(self) -> Path:
        """That it writes to, and nobody else."""

    def __call__(self, watch: Watcher, stop: Callable[[], bool]) -> Any:
        """Run it. ``stop`` is asked between steps: True saves and raises Interrupted. The result is picklable."""


@dataclass(frozen=True)
class Died:
    """The process or machine that ran a task is gone.

    Attributes:
        reason: for a person.
    """

    reason: str


class Engine(Protocol):
    """Something that runs tasks, here or elsewhere."""

    def __call__(
        self, tasks: Sequence[Task], *, stop: Callable[[], bool], told: Told
    ) -> Iterator[tuple[Task, Any | Died]]:
        """Run all tasks.

        Args:
            tasks: with unique names and folders.
            stop: asked now and then; True saves every running task and raises Interrupted.
            told: called with a task's name and an event, ``{"event": "start", "title", "steps", "done"}``,
                ``{"event": "epoch", "epochs", **record}`` or ``{"event": "finish"}``, in the caller's thread.

        Yields:
            Each task and its result, or Died.

        Raises:
            Interrupted: Ctrl-C, SIGTERM or ``stop``; what ran is saved.
            Exception: whatever a task raised; what ran beside it is saved.
        """


class Telling:
    """A watcher that turns what it is told into events."""

    def __init__(self, send: Callable[[dict[str, Any]], None]):
        self._send = send

    def start(self, title: str, steps: int, done: int) -> None:
        """Send where the run begins."""
        self._send({"event": "start", "title": title, "steps": steps, "done": done})

    def step(self, images: int) -> None:
        """Send nothing: a step is a matter of milliseconds."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Send the epoch's record."""
        self._send({**record, "event": "epoch", "epochs": epochs})

    def finish(self) -> None:
        """Send that it ended."""
        self._send({"event": "finish"})


def in_turn(
    tasks: Sequence[Task], *, stop: Callable[[], bool] = lambda: False, told: Told = lambda *_: None
) -> Iterator[tuple[Task, Any | Died]]:
    """Run the tasks in this process, one after the other; an ``Engine``."""
    for task in tasks:
        if stop():
            raise Interrupted(f"stopped before {task.name}")

        def send(event: dict[str, Any], name: str = task.name) -> None:
            told(name, event)

        with alone_in(task.folder, stop, say=tell):
            result = task(Telling(send), stop)
        yield task, result

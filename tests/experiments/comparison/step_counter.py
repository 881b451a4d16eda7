"""An engine that counts the steps of all runs, and can die at one of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qtrain.engines.task import Task, Told
from qtrain.training import Silent


class StepCounter(Silent):
    """Runs tasks here, one after the other, and counts their steps.

    Args:
        kill_at: the step, from 1, at which it raises KeyboardInterrupt.
    """

    def __init__(self, kill_at: int | None = None):
        self.count = 0
        self._kill_at = kill_at

    def __call__(self, tasks: Sequence[Task], *, stop: Callable[[], bool], told: Told) -> Iterator[tuple[Task, Any]]:
        for task in tasks:
            yield task, task(self, stop)

    def step(self, images: int) -> None:
        self.count += 1
        if self.count == self._kill_at:
            raise KeyboardInterrupt("killed")

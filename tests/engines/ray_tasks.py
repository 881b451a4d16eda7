"""Tasks that the nodes of a Ray cluster import."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qtrain.training import Watcher


@dataclass(frozen=True)
class Failing:
    """Counts its attempts in its folder, then ends as ``how`` says: killed, terminated, error or sticky."""

    how: str
    folder: Path

    @property
    def name(self) -> str:
        return self.how

    def __call__(self, watch: Watcher, stop: Callable[[], bool]) -> float:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "attempts").open("a") as file:
            file.write(f"{os.getpid()}\n")
        watch.start(self.name, 1, 0)
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "terminated":  # as when the node is taken away, and unasked
            raise KeyboardInterrupt
        time.sleep(2)  # the one beside it has begun
        if self.how == "sticky":
            raise Sticky("a", "b")
        raise ValueError("no luck")


class Sticky(Exception):
    """Cannot be unpickled."""

    def __init__(self, one: str, two: str):
        super().__init__(one)

"""Tasks for the engine that need no training; spawned processes import them from here."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qtrain.training import Interrupted, Watcher


class Strange(Exception):
    """Cannot be made again from its text alone, so not unpickled either."""

    def __init__(self, what: str, why: str):
        super().__init__(f"{what} {why}")


@dataclass(frozen=True)
class Endless:
    """Runs until it is told to stop, and saves then."""

    folder: Path

    @property
    def name(self) -> str:
        return "endless"

    def __call__(self, watch: Watcher, stop: Callable[[], bool]) -> None:
        self.folder.mkdir(exist_ok=True)
        watch.start("endless", 1, 0)
        (self.folder / "begun").touch()
        while not stop():
            time.sleep(0.05)
        (self.folder / "saved").touch()
        raise Interrupted(f"saved in {self.folder}")


@dataclass(frozen=True)
class Killed:
    """Is killed, as the kernel does where memory is short, once another task has begun."""

    folder: Path
    other: Path

    @property
    def name(self) -> str:
        return "killed"

    def __call__(self, watch: Watcher, stop: Callable[[], bool]) -> None:
        while not self.other.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Wrong:
    """Raises what cannot be pickled."""

    folder: Path

    @property
    def name(self) -> str:
        return "wrong"

    def __call__(self, watch: Watcher, stop: Callable[[], bool]) -> None:
        raise Strange("never", "mind")

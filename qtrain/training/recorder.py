"""Writes a run's records while it trains: JSON lines, with loggers beside them."""

import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from qtrain import __version__
from qtrain.own_code import one_line
from qtrain.records.files import json_line, write_json_lines, writing
from qtrain.records.runs import RECORDS, check_epochs, read_records
from qtrain.training.loggers.logger import LoggedRun, Logger


def machine(device: torch.device, ranks: int = 1) -> dict[str, Any]:
    """What the numbers of a run on so many ranks depend on besides its recipe."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "ranks": ranks,
        "python": platform.python_version(),
        "versions": {"qtrain": __version__, **{p: version(p) for p in ("torch", "brevitas", "numpy")}},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Of the checkout that this code runs from; None where it is installed without one."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    # Without optional locks it writes nothing there: on a full disk git else leaves a lock that keeps people out
    command = ["git", "--no-optional-locks", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:  # no git here
        return None


class RecordWriter:
    """Appends records, and hands each to the loggers; after a resume it first drops what the checkpoint does not know.

    Args:
        folder: of the run.
        epochs_done: epoch records to keep, those up to this number.
        title: of the run, for loggers.
        loggers: by their names; they begin with the run's own record.
        say: told where loggers write, and of one that fails.

    Attributes:
        empty: whether not even the run's own record is there yet.

    Raises:
        UserError: a logger cannot begin, or a record that the checkpoint knows of is lost.
    """

    def __init__(
        self,
        folder: Path,
        epochs_done: int,
        title: str,
        loggers: Mapping[str, Logger],
        say: Callable[[str], None],
    ):
        self._folder = folder
        self._path = folder / RECORDS
        self._title = title
        self._waiting = dict(loggers)
        self._loggers: dict[str, Logger] = {}  # those that have begun
        self._say = say
        self.empty = True
        if self._path.exists():
            kept = [r for r in read_records(folder) if r["type"] == "run" or r.get("epoch", 1e9) <= epochs_done]
            check_epochs(folder, kept, epochs_done)
            self._rewrite(kept)
            self.empty = not kept
            for start in [record for record in kept if record["type"] == "run"][:1]:
                self._begin(start, [record for record in kept if record["type"] == "epoch"])

    def _rewrite(self, records: Iterable[dict[str, Any]]) -> None:
        write_json_lines(self._path, records)

    def _begin(self, start: dict[str, Any], epochs: Sequence[dict[str, Any]]) -> None:
        run = LoggedRun(self._folder, self._title, start, epochs, self._say)
        for name, logger in self._waiting.items():
            try:
                logger.begin(run)
            except BaseException:
                self.close(done=False)
                raise
            self._loggers[name] = logger

    def write(self, record: dict[str, Any]) -> None:
        """Append one record, on disk when this returns, and hand it to the loggers."""
        with writing(self._path), self._path.open("a") as file:
            file.write(json_line(record))
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave a checkpoint that knows of more
        if record["type"] == "run":
            self._begin(record, [])
        elif record["type"] == "epoch":
            self._tell(lambda logger: logger.epoch(record))
        else:
            self._tell(lambda logger: logger.result(record))

    def close(self, done: bool) -> None:
        """Let the loggers write what is left.

        Args:
            done: whether the run came to its result.
        """
        self._tell(lambda logger: logger.close(done))
        self._loggers.clear()

    def _tell(self, tell: Callable[[Logger], None]) -> None:
        """Tell every logger; one that fails is left out from now on, for the records have it all."""
        for name, logger in list(self._loggers.items()):
            try:
                tell(logger)
            except Exception as error:  # a server that is gone, a full disk: no reason to lose hours of training
                del self._loggers[name]
                self._say(f"logger {name} failed ({one_line(error)}) and is told nothing more; {RECORDS} has all of it")


class NoRecords:
    """In place of a ``RecordWriter`` on all ranks but the one that writes."""

    def write(self, record: dict[str, Any]) -> None:
        """Do nothing."""

    def close(self, done: bool) -> None:
        """Do nothing."""

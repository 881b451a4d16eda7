"""Writes a run's records while it trains: JSON lines, with TensorBoard beside them."""

import json
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from qtrain import __version__
from qtrain.records.files import write_json_lines
from qtrain.records.runs import RECORDS, read_records


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
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:  # no git here
        return None


class RecordWriter:
    """Appends records; after a resume it first drops what the checkpoint does not know.

    Args:
        folder: of the run.
        epochs_done: epoch records to keep, those up to this number.

    Attributes:
        empty: whether not even the run's own record is there yet.
    """

    def __init__(self, folder: Path, epochs_done: int):
        self._path = folder / RECORDS
        self.empty = True
        if self._path.exists():
            kept = [r for r in read_records(folder) if r["type"] == "run" or r.get("epoch", 1e9) <= epochs_done]
            self._rewrite(kept)
            self.empty = not kept
        self._board = SummaryWriter(str(folder), purge_step=epochs_done + 1)

    def _rewrite(self, records: Iterable[dict[str, Any]]) -> None:
        write_json_lines(self._path, records)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record, on disk when this returns; scalars of an epoch go to TensorBoard too."""
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if record["type"] == "epoch":
            for name, value in record.items():
                if isinstance(value, float):
                    self._board.add_scalar(name, value, record["epoch"])
            for layer, rate in record["draws"].items():
                self._board.add_scalar(f"draws/{layer}", rate, record["epoch"])

    def close(self) -> None:
        """Flush TensorBoard's file."""
        self._board.close()


class NoRecords:
    """In place of a ``RecordWriter`` on all ranks but the one that writes."""

    empty = False

    def write(self, record: dict[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

"""A run's checkpoints, written beside the training: the state is copied, and a thread serialises and syncs the copy."""

from __future__ import annotations

import copy
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from qtrain.training import checkpoint


class Saver:
    """Writes what a run goes on from, one epoch at a time; leaving it as a context waits for the last.

    A kill at any moment leaves what it left when the loop wrote by itself: the best weights are on disk before the
    checkpoint that speaks of them, and the loop waits for an epoch's checkpoint before it records the next epoch.

    Attributes:
        out: folder of the run.
    """

    def __init__(self, out: Path):
        self.out = out
        self._best: dict[str, Any] | None = None
        self._written: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    def keep_best(self, state: dict[str, Any]) -> None:
        """Copy the best weights; they are written before the next checkpoint."""
        self._best = snapshot(state)

    def save(self, state: dict[str, Any]) -> None:
        """Copy a run's state and begin to write it, behind what is being written still.

        Raises:
            OSError: what was being written could not be.
        """
        self.wait()
        files = {checkpoint.BEST: self._best, checkpoint.LAST: snapshot(state)}
        self._best = None
        self._written = self._thread.submit(self._write, files)

    def wait(self) -> None:
        """Wait until all that was begun is on disk.

        Raises:
            OSError: it could not be written.
        """
        written = self._written
        self._written = None
        if written is not None:
            written.result()

    def _write(self, files: dict[str, dict[str, Any] | None]) -> None:
        for name, state in files.items():
            if state is not None:
                checkpoint.save(self.out / name, state)

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._thread.shutdown()
        if error is None:  # else the first error is the one to be heard of
            self.wait()


def snapshot(state: Any) -> Any:
    """Copy tensors and plain values, nested in dictionaries, lists and tuples, to the CPU's memory.

    What is one tensor, or shares a storage, does so in the copy, so that both are saved as the same bytes.
    """
    return _Copier().copied(state)


class _Copier:
    """Copies a nested state, what is in it twice once."""

    def __init__(self) -> None:
        self._storages: dict[tuple[torch.device, int], torch.UntypedStorage] = {}
        self._tensors: dict[int, Tensor] = {}

    def copied(self, value: Any) -> Any:
        """Return the copy of a tensor, a container of them, or a plain value."""
        if isinstance(value, Tensor):
            if id(value) not in self._tensors:
                self._tensors[id(value)] = self._tensor(value)
            return self._tensors[id(value)]
        if isinstance(value, dict):
            found = copy.copy(value)  # of its kind: a state of torch's carries versions
            for name, entry in value.items():
                found[name] = self.copied(entry)
            return found
        if isinstance(value, list):
            return [self.copied(entry) for entry in value]
        if type(value) is tuple:
            return tuple(self.copied(entry) for entry in value)
        return copy.deepcopy(value)

    def _tensor(self, value: Tensor) -> Tensor:
        """Copy a tensor's storage, once for all its views, now: while a graph is captured no thread may read a GPU."""
        storage = value.untyped_storage()
        key = storage.device, storage.data_ptr()
        if key not in self._storages:
            self._storages[key] = storage.clone() if storage.device.type == "cpu" else storage.cpu()
        found = torch.empty(0, dtype=value.dtype)
        return found.set_(self._storages[key], value.storage_offset(), value.shape, value.stride())

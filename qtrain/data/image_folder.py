"""A split whose images stay in their files, and how they are decoded, batch by batch."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from qtrain.data.crop import IMAGENET, ImageNetImages
from qtrain.data.dataset import Split
from qtrain.data.own_images import OwnImages
from qtrain.errors import UserError

WORKERS = "QTRAIN_WORKERS"
_MOST_WORKERS = 8
_SMALL = 1000  # starting workers costs more than they save

ImageReader = ImageNetImages | OwnImages


class FolderSplit(Split):
    """Images in files with their labels; a batch is decoded when it is asked for.

    Args:
        paths: bytes [N], the files' names as the file system has them; an array, since a million strings would be
            copied into each worker as it counts references.
        labels: int64 [N], on the device that the batches are to come on.
        workers: processes that decode; 0 decodes in this one. No batch depends on it.
        reader: how a file becomes pixels.
    """

    paths: np.ndarray
    workers: int
    reader: ImageReader

    def __init__(self, paths: np.ndarray, labels: Tensor, workers: int = 0, reader: ImageReader = IMAGENET) -> None:
        if len(paths) != len(labels):
            raise ValueError(f"{len(paths)} files, but {len(labels)} labels")
        vars(self).update(paths=paths, labels=labels, workers=workers, reader=reader)  # Split is frozen

    @property
    def images(self) -> Tensor:
        """Decode all, as an evaluation shows them: uint8 [N, C, H, W]. For a few images."""
        return next(decoded(self, [list(range(len(self)))]))

    @property
    def device(self) -> torch.device:
        """Return the device that batches come to."""
        return self.labels.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image, as the reader makes it."""
        return self.reader.channels, self.reader.height, self.reader.width

    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return nothing: it would take a pass over all files."""
        return (), ()

    def to(self, device: torch.device | str) -> FolderSplit:
        """Return the split with its batches on ``device``."""
        return FolderSplit(self.paths, self.labels.to(device), self.workers, self.reader)

    def take(self, count: int) -> FolderSplit:
        """Return the first ``count`` images.

        Raises:
            UserError: ``count`` is not from 1 to the length of the split.
        """
        if not 1 <= count <= len(self):
            raise UserError(f"cannot take {count} of {len(self)} images; choose from 1 to {len(self)}")
        return self.select(torch.arange(count, device=self.device))

    def select(self, indices: Tensor) -> FolderSplit:
        """Return the images at ``indices`` (int64 [M]), in that order."""
        return FolderSplit(self.paths[indices.cpu().numpy()], self.labels[indices], self.workers, self.reader)


def default_workers(images: int) -> int:
    """Return QTRAIN_WORKERS, else up to 8 of the CPUs this process may use; none for less than 1,000 images.

    Raises:
        UserError: QTRAIN_WORKERS is not a whole number, 0 or more.
    """
    wanted = os.environ.get(WORKERS)
    if wanted:
        if not wanted.isdecimal():
            raise UserError(f"{WORKERS} must be a whole number of processes, 0 or more, but got {wanted!r}")
        return int(wanted)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if images < _SMALL else min(_MOST_WORKERS, usable)


def decoded(
    split: FolderSplit, batches: Sequence[Sequence[Any]], decode: Callable[[str, Any], Tensor] | None = None
) -> Iterator[Tensor]:
    """Decode images batch by batch.

    Args:
        split: where the files are.
        batches: each batch's items; an item is an image's number in the split, or a tuple that begins with it.
        decode: from a file's name and the item to uint8 [C, H, W]; by default the reader's centre.

    Yields:
        uint8 [B, C, H, W], on the split's device.

    Raises:
        UserError: a file is not an image, or damaged.
    """
    loader = DataLoader(
        _Files(split.paths, decode or partial(_centre, reader=split.reader)),
        batch_sampler=batches,  # type: ignore[arg-type]  # any iterable of lists does
        num_workers=min(split.workers, len(batches)),
        collate_fn=_stack,
        pin_memory=split.device.type == "cuda",
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # else it draws from the global one, and a resumed run goes on differently
    )
    for images in loader:
        if isinstance(images, UserError):
            raise images
        yield images.to(split.device, non_blocking=True)


def _centre(path: str, item: Any, *, reader: ImageReader) -> Tensor:
    return reader.centre(path)


class _Files(Dataset[Any]):
    def __init__(self, paths: np.ndarray, decode: Callable[[str, Any], Tensor]) -> None:
        self.paths = paths
        self.decode = decode

    def __getitem__(self, item: Any) -> Tensor | UserError:
        index = item[0] if isinstance(item, tuple) else item
        try:
            return self.decode(os.fsdecode(bytes(self.paths[index])), item)
        except UserError as error:  # raised in a worker it would come back with the worker's traceback as its text
            return error


def _stack(images: list[Tensor | UserError]) -> Tensor | UserError:
    for image in images:
        if isinstance(image, UserError):
            return image
    return torch.stack(images)  # type: ignore[arg-type]  # no errors among them


def _ignore_interrupts(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches them too, but it is the training loop that stops

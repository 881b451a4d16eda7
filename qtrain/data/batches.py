"""The mini-batches of a split, wherever its images lie."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from qtrain.data.augment import Batches, to_unit
from qtrain.data.dataset import Split
from qtrain.data.folder_batches import FolderBatches
from qtrain.data.image_folder import FolderSplit, decoded
from qtrain.errors import UserError


def make_batches(
    split: Split, batch_size: int, *, seed: int, augment: bool, flip: bool, jitter: float = 0.0
) -> Batches:
    """Return the mini-batches of a training split; see ``Batches``, and ``FolderBatches`` for images in files.

    Raises:
        UserError: as ``Batches`` does.
    """
    kind = FolderBatches if isinstance(split, FolderSplit) else Batches
    return kind(split, batch_size, seed=seed, augment=augment, flip=flip, jitter=jitter)


def ordered_batches(split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in order and unchanged, as an evaluation needs; the same types as ``Batches.epoch``.

    Images in files are resized and cropped around their centre.
    """
    if batch_size < 1:
        raise UserError(f"batch_size {batch_size} is too small; choose 1 or more")
    if isinstance(split, FolderSplit):
        pixels = decoded(split, [list(part) for part in _ranges(len(split), batch_size)])
    else:
        pixels = iter(split.images.split(batch_size))
    for images, labels in zip(pixels, split.labels.split(batch_size), strict=True):
        yield to_unit(images), labels


def _ranges(size: int, step: int) -> Iterator[range]:
    return (range(low, min(low + step, size)) for low in range(0, size, step))

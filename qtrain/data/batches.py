"""The mini-batches of a split, wherever its images lie."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from qtrain.data.augment import PAD, Batches, share, to_unit
from qtrain.data.dataset import Split
from qtrain.data.folder_batches import FolderBatches
from qtrain.data.image_folder import FolderSplit, decoded
from qtrain.errors import UserError


def make_batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    augment: bool,
    flip: bool,
    jitter: float = 0.0,
    noise: float = 0.0,
    mixup: float = 0.0,
    classes: int = 0,
    crop: bool = True,
    rank: int = 0,
    ranks: int = 1,
) -> Batches:
    """Return the mini-batches of a training split; see ``Batches``, and ``FolderBatches`` for images in files.

    Without ``crop`` images keep their place when they are augmented.

    Raises:
        UserError: as ``Batches`` does.
    """
    kind = FolderBatches if isinstance(split, FolderSplit) else Batches
    return kind(
        split,
        batch_size,
        seed=seed,
        augment=augment,
        flip=flip,
        jitter=jitter,
        noise=noise,
        mixup=mixup,
        classes=classes,
        pad=PAD if crop else 0,
        rank=rank,
        ranks=ranks,
    )


def ordered_batches(split: Split, batch_size: int, *, rank: int = 0, ranks: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in order and unchanged, as an evaluation needs; the same types as ``Batches.epoch``.

    Images in files are resized and cropped around their centre. Of several processes each yields its part of the split.
    """
    if batch_size < 1:
        raise UserError(f"batch_size {batch_size} is too small; choose 1 or more")
    parts = list(_ranges(share(len(split), rank, ranks), batch_size))
    if isinstance(split, FolderSplit):
        pixels = decoded(split, [list(part) for part in parts])
    else:
        pixels = (split.images[part.start : part.stop] for part in parts)
    for part, images in zip(parts, pixels, strict=True):
        yield to_unit(images), split.labels[part.start : part.stop]


def _ranges(all_of: range, step: int) -> Iterator[range]:
    return (all_of[low : low + step] for low in range(0, len(all_of), step))

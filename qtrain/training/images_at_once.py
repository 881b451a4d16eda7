"""How many images a validation on a GPU takes at a time: as many as a share of its free memory holds."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MOST = 2500  # beyond, a GPU has no more to do at once, and launches are few already
LEAST = 100  # training itself takes as many
SHARE = 8  # of what is free: kernel by kernel and captured, memory is taken for each, and others live on the GPU too
FEW, MORE = 4, 8  # images that are tried


def images_at_once(images: int, bytes_per_image: float, free: int) -> int:
    """Return how many of a split's images to take at a time, at best with no smaller last batch.

    Args:
        images: of the split, 1 or more.
        bytes_per_image: that a forward pass has in memory at once.
        free: bytes of the device that nobody has.
    """
    room = int(free / SHARE / max(bytes_per_image, 1.0))
    most = min(images, MOST, max(room, LEAST))
    fewest = -(-images // most)
    for parts in range(fewest, 2 * fewest + 1):
        if images % parts == 0:
            return images // parts
    return -(-images // fewest)


def bytes_per_image(forward: Callable[[int], object]) -> float:
    """Measure what an image more adds to the memory that a forward pass has at once, by the tensors that it makes.

    Args:
        forward: runs so many images, on any device.
    """
    return (_most_bytes(forward, MORE) - _most_bytes(forward, FEW)) / (MORE - FEW)


def _most_bytes(forward: Callable[[int], object], images: int) -> int:
    with torch.no_grad(), _Living() as living:
        forward(images)
    return living.most


class _Living(TorchDispatchMode):
    """Adds up the storages that are alive of those that calls have made.

    Attributes:
        most: bytes at any moment.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call, and look at what is alive."""
        before = {_storage(tensor) for tensor in _tensors((args, kwargs))}
        found = function(*args, **(kwargs or {}))
        self._made = {key: held for key, held in self._made.items() if not held[0].expired()}
        for tensor in _tensors(found):
            key = _storage(tensor)
            if key not in before:
                storage = tensor.untyped_storage()
                self._made[key] = StorageWeakRef(storage), storage.nbytes()
        self.most = max(self.most, sum(size for _, size in self._made.values()))
        return found


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata

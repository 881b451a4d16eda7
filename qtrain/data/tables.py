"""The batches of an epoch from tables on the device, so that a captured step reads them without the host.

The epoch's random numbers lie in one table, which is copied once, and a position in it moves with every step. Both stay
where they are for as long as the run lasts: a CUDA graph reads them there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qtrain.data import crop_operator
from qtrain.data.augment import Batches, EpochPlan, draw_epoch
from qtrain.data.jitter import colour_jitter
from qtrain.data.mixup import mixed
from qtrain.triton_kernels import use_kernels


class EpochTables:
    """What ``Batches`` yields, computed on the device by the same numbers.

    Args:
        batches: of images that lie on the device, without noise, of one process.

    Attributes:
        position: int64 [], images of the epoch that were shown; ``read`` moves it.
    """

    def __init__(self, batches: Batches):
        self._batches = batches
        device = batches.split.device
        use_kernels(crop_operator.ROOM, device, crop_operator.comparisons)
        self.position = torch.zeros((), dtype=torch.int64, device=device)
        self._table = torch.zeros(len(batches.split), 4, dtype=torch.int32, device=device)
        factors = batches.factors(0)
        self._factors = None if factors is None else torch.zeros_like(factors)
        shares = batches.shares(0)
        self._shares = None if shares is None else torch.zeros_like(shares)
        self._ahead: tuple[int, Tensor] | None = None

    def begin(self, epoch: int, step: int) -> None:
        """Bring the epoch's numbers to the device; ``read`` goes on with ``step``."""
        ahead = self._ahead
        table = ahead[1] if ahead is not None and ahead[0] == epoch else self._drawn(epoch)
        self._ahead = None
        self._table.copy_(table, non_blocking=True)
        factors = self._batches.factors(epoch)
        if self._factors is not None and factors is not None:
            self._factors.copy_(factors)
        shares = self._batches.shares(epoch)
        if self._shares is not None and shares is not None:
            self._shares.copy_(shares)
        self.position.fill_(step * self._batches.batch_size)

    def prepare(self, epoch: int) -> None:
        """Draw an epoch's numbers while the device still works on the steps that it was given."""
        self._ahead = epoch, self._drawn(epoch)

    def read(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the next images and labels as ``Batches.epoch`` does, by launches alone."""
        batches = self._batches
        _, height, width = batches.split.shape
        images: Tensor
        images, labels = torch.ops.qtrain.crop_flip(
            batches.padded, batches.split.labels, self._table, self.position, count, height, width
        )
        if self._factors is not None:
            at = self.position + torch.arange(count, device=images.device)
            images = colour_jitter(images, self._factors.index_select(0, at))
        if self._shares is not None:
            step = torch.div(self.position, batches.batch_size, rounding_mode="floor")
            batch = images, labels
            images, labels = mixed(batch, batch, self._shares.index_select(0, step[None]), batches.classes)
        self.position += count
        return images, labels

    def _drawn(self, epoch: int) -> Tensor:
        """The table of an epoch, on the host; pinned where it is copied to a GPU."""
        batches = self._batches
        plan: EpochPlan = draw_epoch(
            len(batches.split), seed=batches.seed, epoch=epoch, pad=batches.pads, flip=batches.flip
        )
        table = torch.stack([plan.order, *plan.offsets.unbind(1), plan.flips.long()], 1).int()
        return table.pin_memory() if self._table.is_cuda else table


def tables_of(batches: Batches) -> EpochTables | None:
    """Return the tables of batches that the device can compute by itself; None for others.

    Images in files are decoded by the host, noise is drawn there, and a rank has its share of every batch.
    """
    if type(batches) is not Batches or batches.noise or batches.ranks > 1:
        return None
    return EpochTables(batches)

"""Mini-batches: pad, random crop, flip and colour jitter of a whole batch at once, on the device with the images.

All random numbers of an epoch are drawn at its start from (seed, epoch) alone, on the CPU. So a run can continue at
any step, and every device sees the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from qtrain.data.dataset import Split
from qtrain.data.jitter import colour_jitter, draw_jitter
from qtrain.data.mixup import draw_shares, mixed
from qtrain.data.noise import with_noise
from qtrain.errors import UserError

_STREAM = 0x41554731  # keeps these draws apart from any other use of the same seed
PAD = 4

Batch = tuple[Tensor, Tensor]  # images and labels
Pads = tuple[int, int]  # pixels added above and below, and left and right


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """The random numbers of one epoch over N images; row i belongs to the i-th image shown.

    Attributes:
        order: int64 [N], a permutation of the images.
        offsets: int64 [N, 2], row and column of the crop in the padded image, 0 to twice the padding of each side.
        flips: bool [N], whether the crop is mirrored.
    """

    order: Tensor
    offsets: Tensor
    flips: Tensor

    def to(self, device: torch.device | str) -> EpochPlan:
        """Return the plan on `device`."""
        return EpochPlan(self.order.to(device), self.offsets.to(device), self.flips.to(device))


def draw_epoch(size: int, *, seed: int, epoch: int, pad: int | Pads = 4, flip: bool = True) -> EpochPlan:
    """Draw the plan of one epoch from (seed, epoch); the order depends on neither `pad` nor `flip`.

    Args:
        size: N, number of images.
        seed: of the run, 0 or more.
        epoch: 0 or more.
        pad: pixels of padding on each side; a pair where it differs between rows and columns.
        flip: whether half of the images are mirrored; False mirrors none.
    """
    rng = np.random.default_rng((_STREAM, seed, epoch))
    order = rng.permutation(size)
    rows, columns = (pad, pad) if isinstance(pad, int) else pad
    if rows == columns:  # one bound for both, which draws other numbers than a pair of the same
        offsets = rng.integers(0, 2 * rows + 1, (size, 2))
    else:
        offsets = rng.integers(0, [2 * rows + 1, 2 * columns + 1], (size, 2))
    flips = (rng.random(size) < 0.5) & flip
    return EpochPlan(torch.from_numpy(order), torch.from_numpy(offsets), torch.from_numpy(flips))


def crop_flip_slices(padded: Tensor, index: Tensor, offsets: Tensor, flips: Tensor, pads: Pads) -> Tensor:
    """Crop and mirror image by image; the reference, and the fastest way on a CPU.

    Args:
        padded: uint8 [N, C, H + 2 rows, W + 2 columns], on the CPU.
        index: int64 [B], which images.
        offsets: int64 [B, 2], row and column of each crop.
        flips: bool [B], which crops are mirrored.
        pads: pixels of padding: above and below, left and right.

    Returns:
        uint8 [B, C, H, W].
    """
    images = padded.numpy()
    height = images.shape[2] - 2 * pads[0]
    width = images.shape[3] - 2 * pads[1]
    crops = np.empty((len(index), images.shape[1], height, width), np.uint8)
    rows = zip(index.tolist(), offsets.tolist(), flips.tolist(), strict=True)
    for crop, (i, (y, x), mirrored) in zip(crops, rows, strict=True):
        window = images[i, :, y : y + height, x : x + width]
        crop[...] = window[:, :, ::-1] if mirrored else window
    return torch.from_numpy(crops)


def crop_flip_gather(padded: Tensor, index: Tensor, offsets: Tensor, flips: Tensor, pads: Pads) -> Tensor:
    """Do what `crop_flip_slices` does in one gather without a loop, on any device."""
    channels = padded.shape[1]
    height = padded.shape[2] - 2 * pads[0]
    width = padded.shape[3] - 2 * pads[1]
    column = torch.arange(width, device=padded.device)
    y = offsets[:, :1] + torch.arange(height, device=padded.device)
    x = offsets[:, 1:] + torch.where(flips[:, None], column.flip(0), column)
    channel = torch.arange(channels, device=padded.device)
    return padded[index[:, None, None, None], channel[:, None, None], y[:, None, :, None], x[:, None, None, :]]


class Batches:
    """The mini-batches of a training split, epoch by epoch.

    BatchNorm cannot train on one image, so a last batch of a single image is merged into the one before it, which
    then holds `batch_size + 1`. With `drop_last` every batch has `batch_size` images.

    Args:
        split: images on the device that is to do the work; a padded copy of them is made once, and the attribute
            ``split`` then has its images inside that copy.
        batch_size: images a step, 2 or more.
        seed: of the order, the crops and the flips, 0 or more.
        augment: crop and flip; False only shuffles.
        flip: whether a mirrored image keeps its label (`DataSet.flip`); without it augmentation only crops.
        jitter: with ``augment``, brightness, contrast and saturation are scaled by up to this share, 0 to 1.
        noise: with ``augment``, the standard deviation of normal noise, as a share of the range, 0 to 1.
        mixup: parameter of the Beta distribution that pairs of images are mixed by, whether or not they are augmented;
            labels are then the classes' shares, float32 [B, classes]. 0 mixes nothing.
        classes: that there are; with ``mixup`` alone it is needed.
        pad: zeros added on each side before the crop, in pixels; a side of ``pad`` pixels or less is never cropped.
        drop_last: leave the images out that don't fill a batch (others in each epoch).
        rank: which of several processes this is; each yields its `share` of every batch.
        ranks: how many there are.

    Raises:
        UserError: the batch size, the padding, the jitter or the seed is out of range, or the split holds less than a
            batch.
    """

    def __init__(
        self,
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
        pad: int = PAD,
        drop_last: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch_size < 2:
            raise UserError(f"batch_size {batch_size} is too small for BatchNorm; choose 2 or more")
        if len(split) < (batch_size if drop_last else 2):
            raise UserError(
                f"{len(split)} training images are too few for batch_size {batch_size}; "
                "choose a smaller batch size or more images"
            )
        if pad < 0 or seed < 0:
            raise UserError(f"pad {pad} and seed {seed} cannot be negative; choose 0 or more")
        for what, share_of in (("jitter", jitter), ("noise", noise)):
            if not 0 <= share_of <= 1:
                raise UserError(f"{what} {share_of} is out of range; choose from 0 to 1")
        if jitter and augment and split.shape[0] != 3:
            raise UserError(f"jitter is of colours, and these inputs have {split.shape[0]} channels; leave it out")
        if mixup < 0 or (mixup and classes < 1):
            raise UserError(f"mixup {mixup} of {classes} classes is out of range; choose 0 or more, of 1 class or more")
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.pads = _pads(split, pad if augment else 0)
        self.flip = flip and augment
        self.jitter = jitter if augment else 0.0
        self.noise = noise if augment else 0.0
        self.mixup = mixup
        self.classes = classes
        self.drop_last = drop_last
        self.rank = rank
        self.ranks = ranks
        self._ahead: tuple[int, EpochPlan] | None = None
        self._prepare()

    def _prepare(self) -> None:
        split = self.split
        rows, columns = self.pads
        if any(self.pads):
            _, height, width = split.shape
            self.padded = F.pad(split.images, (columns, columns, rows, rows))
            # The images are those inside the padding: who goes on with this split holds no second copy.
            self.split = Split(self.padded[:, :, rows : rows + height, columns : columns + width], split.labels)
        else:
            self.padded = split.images
        self._crop_flip = crop_flip_slices if split.device.type == "cpu" else crop_flip_gather

    def __len__(self) -> int:
        """Return the steps of an epoch."""
        full, left = divmod(len(self.split), self.batch_size)
        return full + (left > 1 and not self.drop_last)

    def images_in(self, step: int) -> int:
        """Return the images of a step of an epoch, over all ranks."""
        is_end = step == len(self) - 1 and not self.drop_last
        return len(self.split) - step * self.batch_size if is_end else self.batch_size

    def plan(self, epoch: int) -> EpochPlan:
        """Return what is drawn for an epoch, on the split's device."""
        plan = draw_epoch(len(self.split), seed=self.seed, epoch=epoch, pad=self.pads, flip=self.flip)
        return plan.to(self.split.device)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the mini-batches of an epoch from step `start` on, the same bits as an epoch that began at step 0.

        Args:
            epoch: number of the epoch, 0 or more.
            start: first step to yield, 0 to `len(self)`.

        Yields:
            Images, float32 [B, C, H, W] in [0, 1], and labels, int64 [B]; with mixup float32 [B, classes].

        Raises:
            ValueError: `start` or `epoch` is out of range.
        """
        if not 0 <= start <= len(self) or epoch < 0:
            raise ValueError(f"epoch {epoch} has no step {start}; an epoch has {len(self)} steps")
        return self._steps(epoch, start)

    def _steps(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        ahead = self._ahead
        self._ahead = None
        plan = ahead[1] if ahead and ahead[0] == epoch else self.plan(epoch)
        factors = self.factors(epoch)
        shares = self.shares(epoch)
        for step, at in enumerate(self._slices(start), start):
            yield self._mixed(partial(self._shown, plan, factors, epoch, step), step, at, shares)
        if self.split.device.type != "cpu":  # drawn while the device still works on the steps it was given
            self._ahead = epoch + 1, self.plan(epoch + 1)

    def _shown(self, plan: EpochPlan, factors: Tensor | None, epoch: int, step: int, at: slice) -> Batch:
        """Return what an epoch shows at ``at``, which lies in the batch of ``step``."""
        index = plan.order[at]
        if any(self.pads) or self.flip:
            images = self._crop_flip(self.padded, index, plan.offsets[at], plan.flips[at], self.pads)
        else:
            images = self.padded[index]
        return self._finished(images, factors, epoch, step, at), self.split.labels[index]

    def _mixed(self, shown: Callable[[slice], Batch], step: int, at: slice, shares: Tensor | None) -> Batch:
        """Return what ``shown`` gives at ``at``, mixed by the step's share where there is one."""
        batch = shown(at)
        if shares is None:
            return batch
        mirror = self._mirror(step, at)
        return mixed(batch, batch if mirror == at else shown(mirror), shares[step], self.classes)

    def _mirror(self, step: int, at: slice) -> slice:
        """Where the partners lie of what a step shows at ``at``: of a rank's part, in another rank's."""
        ends = 2 * step * self.batch_size + self.images_in(step)
        return slice(ends - at.stop, ends - at.start)

    def _slices(self, start: int) -> Iterator[slice]:
        """What each step from ``start`` on shows of the epoch's order, on this rank."""
        for step in range(start, len(self)):
            first = step * self.batch_size
            images = self.images_in(step)
            # BatchNorm again: a batch that leaves a rank less than two images is computed whole by all of them.
            part = share(images, self.rank, self.ranks) if images >= 2 * self.ranks else range(images)
            yield slice(first + part.start, first + part.stop)

    def _finished(self, images: Tensor, factors: Tensor | None, epoch: int, step: int, at: slice) -> Tensor:
        """Bring a step's images, uint8, to [0, 1], with the colours' jitter and the noise where there are any."""
        unit = to_unit(images)
        if factors is not None:
            unit = colour_jitter(unit, factors[at])
        if self.noise:
            unit = with_noise(unit, self.noise, seed=self.seed, epoch=epoch, step=step, images=at)
        return unit

    def shares(self, epoch: int) -> Tensor | None:
        """Return the shares of an epoch's steps on the split's device; None without mixup."""
        if not self.mixup:
            return None
        return draw_shares(len(self), seed=self.seed, epoch=epoch, alpha=self.mixup).to(self.split.device)

    def factors(self, epoch: int) -> Tensor | None:
        """Return the epoch's jitter on the split's device; None without jitter."""
        if not self.jitter:
            return None
        factors = draw_jitter(len(self.split), seed=self.seed, epoch=epoch, strength=self.jitter)
        return factors.to(self.split.device)


def _pads(split: Split, pad: int) -> Pads:
    """Return the padding of rows and columns: a signal [C, L, 1] and a row [F, 1, 1] are not shifted out of view."""
    if pad == 0:
        return 0, 0
    _, height, width = split.shape
    return (pad if height > pad else 0), (pad if width > pad else 0)


def share(count: int, rank: int, ranks: int) -> range:
    """Return which of `count` images are those of one of `ranks` processes; sizes differ by one at most."""
    return range(count * rank // ranks, count * (rank + 1) // ranks)


def to_unit(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]."""
    return images.float().div_(255)

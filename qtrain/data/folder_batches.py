"""Mini-batches of images in files: random parts of them, mirrored and jittered, from (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from torch import Tensor

from qtrain.data.augment import Batch, Batches, EpochPlan, draw_epoch
from qtrain.data.image_folder import FolderSplit, ImageReader, decoded

_STREAM = 0x464F4C44


class FolderBatches(Batches):
    """The mini-batches of a training split in files; arguments are those of ``Batches``, sizes the reader's.

    With ``augment`` an image shows a random part (``crop.random_box``), without it its centre. The part is drawn from
    (seed, epoch, number of the image), so that an epoch continues at any step and workers do not matter.
    """

    split: FolderSplit

    def _prepare(self) -> None:
        # A part of each image is cut out, instead of a crop of the padded image.
        self.crop = any(self.pads)
        self.pads = (0, 0)

    def _steps(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        plan = draw_epoch(len(self.split), seed=self.seed, epoch=epoch, pad=0, flip=self.flip)
        factors = self.factors(epoch)
        shares = self.shares(epoch)
        slices = list(self._slices(start))
        rows = [self._rows(plan, step, at) for step, at in enumerate(slices, start)]
        decode = partial(_decode, reader=self.split.reader, crop=self.crop, seed=self.seed, epoch=epoch)
        steps = zip(slices, decoded(self.split, rows, decode), strict=True)
        for step, (at, pixels) in enumerate(steps, start):
            shown = partial(self._part, plan, factors, epoch, step, pixels, at)
            yield self._mixed(shown, step, at, shares)

    def _part(
        self, plan: EpochPlan, factors: Tensor | None, epoch: int, step: int, pixels: Tensor, own: slice, at: slice
    ) -> Batch:
        """Return what a step shows at ``at``: its own part, or the partners', which were decoded behind it."""
        count = own.stop - own.start
        found = pixels[:count] if at == own else pixels[count:]
        labels = self.split.labels[plan.order[at].to(self.split.device)]
        return self._finished(found, factors, epoch, step, at), labels

    def _rows(self, plan: EpochPlan, step: int, at: slice) -> list[tuple[int, bool]]:
        """Return which images a step decodes, and whether each is mirrored: a rank's own, then partners elsewhere."""
        parts = [at]
        if self.mixup and (mirror := self._mirror(step, at)) != at:
            parts.append(mirror)
        return [row for part in parts for row in zip(plan.order[part].tolist(), plan.flips[part].tolist(), strict=True)]


def _decode(path: str, item: tuple[int, bool], *, reader: ImageReader, crop: bool, seed: int, epoch: int) -> Tensor:
    index, mirrored = item
    rng = np.random.default_rng((_STREAM, seed, epoch, index))
    pixels = reader.part(path, rng) if crop else reader.centre(path)
    return pixels.flip(2) if mirrored else pixels

"""Mini-batches of images in files: random parts of them, mirrored and jittered, from (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from torch import Tensor

from qtrain.data.augment import Batches, draw_epoch
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
        slices = list(self._slices(start))
        rows = [list(zip(plan.order[at].tolist(), plan.flips[at].tolist(), strict=True)) for at in slices]
        decode = partial(_decode, reader=self.split.reader, crop=self.crop, seed=self.seed, epoch=epoch)
        steps = zip(slices, decoded(self.split, rows, decode), strict=True)
        for step, (at, pixels) in enumerate(steps, start):
            labels = self.split.labels[plan.order[at].to(self.split.device)]
            yield self._finished(pixels, factors, epoch, step, at), labels


def _decode(path: str, item: tuple[int, bool], *, reader: ImageReader, crop: bool, seed: int, epoch: int) -> Tensor:
    index, mirrored = item
    rng = np.random.default_rng((_STREAM, seed, epoch, index))
    pixels = reader.part(path, rng) if crop else reader.centre(path)
    return pixels.flip(2) if mirrored else pixels

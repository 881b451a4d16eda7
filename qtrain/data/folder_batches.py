"""Mini-batches of images in files: random parts of them, mirrored and jittered, from (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from torch import Tensor

from qtrain.data.augment import Batches, draw_epoch, to_unit
from qtrain.data.crop import centre_pixels, training_pixels
from qtrain.data.image_folder import FolderSplit, decoded
from qtrain.data.jitter import colour_jitter

_STREAM = 0x464F4C44


class FolderBatches(Batches):
    """The mini-batches of a training split in files, 224 x 224 pixels; arguments and sizes are those of ``Batches``.

    With ``augment`` an image shows a random part (``crop.random_box``), without it its centre. The part is drawn from
    (seed, epoch, number of the image), so that an epoch continues at any step and workers do not matter.
    """

    split: FolderSplit

    def _prepare(self) -> None:
        # A part of each image is cut out, instead of a crop of the padded image.
        self.crop = self.pad > 0
        self.pad = 0

    def _steps(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        plan = draw_epoch(len(self.split), seed=self.seed, epoch=epoch, pad=0, flip=self.flip)
        factors = self._factors(epoch)
        slices = list(self._slices(start))
        rows = [list(zip(plan.order[at].tolist(), plan.flips[at].tolist(), strict=True)) for at in slices]
        decode = partial(_decode, crop=self.crop, seed=self.seed, epoch=epoch)
        for at, pixels in zip(slices, decoded(self.split, rows, decode), strict=True):
            images = to_unit(pixels)
            labels = self.split.labels[plan.order[at].to(self.split.device)]
            yield images if factors is None else colour_jitter(images, factors[at]), labels


def _decode(path: str, item: tuple[int, bool], *, crop: bool, seed: int, epoch: int) -> Tensor:
    index, mirrored = item
    rng = np.random.default_rng((_STREAM, seed, epoch, index))
    pixels = training_pixels(path, rng) if crop else centre_pixels(path)
    return pixels.flip(2) if mirrored else pixels

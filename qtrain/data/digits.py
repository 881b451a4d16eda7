"""scikit-learn's real handwritten digits, which need no network: 1,797 images of 8x8 pixels."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from qtrain.data.dataset import Split

TEST_SIZE = 397
_TEST_SEED = 0


def load_digits(root: str | Path | None = None, download: bool = True) -> tuple[Split, Split]:
    """Return the 1,400 images to train and validate with, and the 397 test images; both stratified, always the same.

    Pixels of 0 to 16 are enlarged from 8x8 to 32x32 (bilinear), scaled to 0 to 255, rounded and repeated in three
    channels. The weights of this enlargement are multiples of 1/64, so float32 is exact and every machine
    gets the same bytes. They come with scikit-learn: ``root`` and ``download`` mean nothing here.
    """
    from sklearn import datasets, model_selection  # takes a second to import

    digits = datasets.load_digits()
    pixels = torch.from_numpy(digits.images).float()[:, None]
    smooth = F.interpolate(pixels, size=(32, 32), mode="bilinear", align_corners=False)
    images = smooth.mul_(255 / 16).round_().to(torch.uint8).repeat(1, 3, 1, 1)
    everything = Split(images, torch.from_numpy(digits.target).long())
    rest, test = model_selection.train_test_split(
        torch.arange(len(everything)).numpy(), test_size=TEST_SIZE, stratify=digits.target, random_state=_TEST_SEED
    )
    return everything.select(torch.from_numpy(rest)), everything.select(torch.from_numpy(test))

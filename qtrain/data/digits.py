"""scikit-learn's real handwritten digits, which need no network: 1,797 images of 8x8 pixels."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from qtrain.data.dataset import Split
from qtrain.data.stratified import stratified_split
from qtrain.errors import UserError

TEST_SIZE = 397
_TEST_SEED = 0


def load_digits(root: str | Path | None = None, download: bool = True) -> tuple[Split, Split]:
    """Return the 1,400 images to train and validate with, and the 397 test images; both stratified, always the same.

    Pixels of 0 to 16 are enlarged from 8x8 to 32x32 (bilinear), scaled to 0 to 255, rounded and repeated in three
    channels. The weights of this enlargement are multiples of 1/64, so float32 is exact and every machine
    gets the same bytes. They come with scikit-learn: ``root`` and ``download`` mean nothing here.
    """
    table = _table()
    target = table[:, -1].astype(np.int64)
    pixels = torch.from_numpy(table[:, :-1]).float().reshape(-1, 1, 8, 8)
    smooth = F.interpolate(pixels, size=(32, 32), mode="bilinear", align_corners=False)
    images = smooth.mul_(255 / 16).round_().to(torch.uint8).repeat(1, 3, 1, 1)
    everything = Split(images, torch.from_numpy(target))
    rest, test = stratified_split(target, TEST_SIZE, _TEST_SEED)
    return everything.select(torch.from_numpy(rest)), everything.select(torch.from_numpy(test))


def _table() -> NDArray[np.float64]:
    """Read scikit-learn's file, rows of 64 pixels and a digit; to import scikit-learn for it would take a second.

    Raises:
        UserError: scikit-learn is not installed, or has no such file.
    """
    package = find_spec("sklearn")
    folders = [] if package is None else package.submodule_search_locations or []
    files = [Path(folder) / "datasets" / "data" / "digits.csv.gz" for folder in folders]
    for path in files:
        if path.is_file():
            with gzip.open(path, "rt") as file:
                return np.loadtxt(file, delimiter=",")
    raise UserError("the digits come with scikit-learn, which is not installed here; pip install scikit-learn")

"""SVHN's cropped digits (Netzer et al. 2011): found on disk as published, or downloaded."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from qtrain.data.dataset import Split
from qtrain.data.published import Publication
from qtrain.errors import UserError

_SHAPE = (32, 32, 3)
_ZERO = 10  # how the files write the digit 0


@dataclass(frozen=True)
class SvhnFormat:
    """The files of SVHN's cropped digits.

    Attributes:
        publication: the published files, ``train_32x32.mat`` and ``test_32x32.mat``.
        train_size: training images.
        test_size: test images.
    """

    publication: Publication
    train_size: int
    test_size: int

    def read(self, root: str | Path | None, download: bool) -> tuple[Split, Split]:
        """Return the training and the test images, uint8 [N, 3, 32, 32]; the label is the digit.

        The 531,131 easier images of ``extra_32x32.mat`` are not used.

        Args:
            root: the folder of the data, or the one that holds both files; default what QTRAIN_DATA names, else the
                user's cache. A download goes there too.
            download: whether to download what is not there.

        Raises:
            UserError: the data are not there and cannot be downloaded, or they are damaged.
        """
        folder = self.publication.folder(root, download)
        return self._read(folder / "train_32x32.mat", self.train_size), self._read(
            folder / "test_32x32.mat", self.test_size
        )

    def _read(self, path: Path, size: int) -> Split:
        """Read a file of MATLAB: X [32, 32, 3, N] and y [N, 1], digits from 1 on, with 10 for 0."""
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        raw = self.publication.verified(path).read_bytes()
        try:
            # Bytes of numbers alone: objects and functions of MATLAB, which other names may hold, are not decoded.
            found = loadmat(io.BytesIO(raw), variable_names=["X", "y"])
            images = np.asarray(found["X"])
            digits = np.asarray(found["y"]).reshape(-1)
        except (MatReadError, KeyError, TypeError, ValueError, OSError, EOFError, NotImplementedError, zlib.error) as e:
            raise UserError(f"{path} does not hold SVHN's X and y ({e}); {self.publication.help_text}") from e
        if images.dtype != np.uint8 or images.shape != (*_SHAPE, size) or digits.shape != (size,):
            raise UserError(
                f"{path} is foreign: it has X {images.dtype} {list(images.shape)} and y {list(digits.shape)}, but "
                f"should have X uint8 {[*_SHAPE, size]} and y {[size]}; {self.publication.help_text}"
            )
        if digits.min() < 1 or digits.max() > _ZERO:
            odd = digits.max() if digits.max() > _ZERO else digits.min()
            raise UserError(
                f"{path} is foreign: it has a label {odd}, but labels are 1 to 10, where 10 is the digit 0; "
                f"{self.publication.help_text}"
            )
        pixels = np.ascontiguousarray(images.transpose(3, 2, 0, 1))
        return Split(torch.from_numpy(pixels), torch.from_numpy(digits.astype(np.int64) % _ZERO))


# URL and SHA-256: pytorch/vision, torchvision/datasets/svhn.py and torchvision/prototype/datasets/_builtin/svhn.py.
SVHN = SvhnFormat(
    publication=Publication(
        "svhn",
        "http://ufldl.stanford.edu/housenumbers/",
        (
            ("train_32x32.mat", "sha256:435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
            ("test_32x32.mat", "sha256:cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
        ),
        folders=("SVHN",),
    ),
    train_size=73_257,
    test_size=26_032,
)

"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017): found on disk as published, or downloaded."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from qtrain.data.dataset import Split
from qtrain.data.published import Publication, check_counts
from qtrain.errors import UserError

SIDE = 28
_BYTES = 0x08  # the code of unsigned bytes in an idx header


@dataclass(frozen=True)
class IdxFormat:
    """A data set in the idx format of MNIST.

    Attributes:
        class_names: in the order of the labels.
        publication: the published files.
        train_counts: training images of each class.
        test_counts: test images likewise.
    """

    class_names: tuple[str, ...]
    publication: Publication
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]

    def read(self, root: str | Path | None, download: bool) -> tuple[Split, Split]:
        """Return the training and the test images, uint8 [N, 1, 28, 28].

        Args:
            root: the folder of the data, or the one that holds the four files; default what QTRAIN_DATA names, else
                the user's cache. A download goes there too. The files may be unpacked, as torchvision leaves them.
            download: whether to download what is not there.

        Raises:
            UserError: the data are not there and cannot be downloaded, or they are damaged.
        """
        folder = self.publication.folder(root, download)
        return self._split(folder, "train", self.train_counts), self._split(folder, "t10k", self.test_counts)

    def _split(self, folder: Path, part: str, counts: tuple[int, ...]) -> Split:
        size = sum(counts)
        images = self._read_idx(folder / f"{part}-images-idx3-ubyte", (size, SIDE, SIDE))
        path = folder / f"{part}-labels-idx1-ubyte"
        labels = self._read_idx(path, (size,)).astype(np.int64)
        check_counts(path, labels, counts, self.class_names, self.publication)
        return Split(torch.from_numpy(images[:, None].copy()), torch.from_numpy(labels))

    def _read_idx(self, path: Path, shape: tuple[int, ...]) -> np.ndarray:
        """Read a file of unsigned bytes; the packed one where there are both, because its checksum is known."""
        packed = path.with_name(f"{path.name}.gz")
        plain = path.is_file() and not packed.is_file()
        used = path if plain else packed
        raw = self.publication.read(path) if plain else self._unpacked(packed)
        header = struct.pack(f">HBB{len(shape)}I", 0, _BYTES, len(shape), *shape)
        expected = len(header) + int(np.prod(shape))
        if not raw.startswith(header) or len(raw) != expected:
            raise UserError(
                f"{used} is truncated or foreign: it has {len(raw)} bytes that start with {raw[: len(header)].hex()}, "
                f"but an idx file of {'x'.join(map(str, shape))} bytes has {expected} and starts with {header.hex()}; "
                f"{self.publication.help_text}"
            )
        return np.frombuffer(raw, np.uint8, offset=len(header)).reshape(shape)

    def _unpacked(self, path: Path) -> bytes:
        raw = self.publication.verified(path).read_bytes()
        try:
            return gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path} is no .gz file ({error}); {self.publication.help_text}") from error


_IMAGES = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
_LABELS = ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte")

# URL and SHA-256 of both sets: pytorch/vision, torchvision/datasets/mnist.py and its prototype datasets.
MNIST = IdxFormat(
    class_names=tuple("0123456789"),
    publication=Publication(
        "mnist",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            (f"{_IMAGES[0]}.gz", "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (f"{_LABELS[0]}.gz", "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (f"{_IMAGES[1]}.gz", "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (f"{_LABELS[1]}.gz", "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
        folders=("MNIST/raw", "raw"),
        alternatives=(*_IMAGES, *_LABELS),
    ),
    train_counts=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    test_counts=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
)
FASHION_MNIST = IdxFormat(
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    publication=Publication(
        "fashion_mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            (f"{_IMAGES[0]}.gz", "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (f"{_LABELS[0]}.gz", "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (f"{_IMAGES[1]}.gz", "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (f"{_LABELS[1]}.gz", "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
        folders=("FashionMNIST/raw", "raw"),
        alternatives=(*_IMAGES, *_LABELS),
    ),
    train_counts=(6000,) * 10,
    test_counts=(1000,) * 10,
)

"""Reading CIFAR's two file formats, with every way they can be wrong told apart."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from qtrain.errors import UserError
from qtrain.records.plain_files import read_plain

PIXELS = 3 * 32 * 32
_MOST = 1 << 30  # bytes of a file; none that is published has a quarter of that
Arrays = tuple[np.ndarray, np.ndarray]


def read_bytes(path: Path, help_text: str) -> bytes:
    """Return a file's bytes; a `UserError` that ends in `help_text` where it is missing or unreadable."""
    try:
        return read_plain(path, _MOST)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {help_text}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {help_text}") from error


def read_binary(path: Path, *, records: int, label_bytes: int, classes: int, help_text: str) -> Arrays:
    """Read a file of the published binary layout: label bytes, then 3,072 pixel bytes (R, G, B planes) a record.

    Args:
        path: the file.
        records: how many the file must hold.
        label_bytes: 1 (CIFAR-10) or 2 (CIFAR-100: coarse, fine); the last one is the label.
        classes: labels must be below it.
        help_text: what the user can do; the end of every message.

    Returns:
        Images, uint8 [records, 3, 32, 32], and labels, int64 [records].

    Raises:
        UserError: the file is missing, has another size or labels out of range.
    """
    size = label_bytes + PIXELS
    raw = read_bytes(path, help_text)
    if len(raw) != records * size:
        raise UserError(
            f"{path} is truncated or foreign: it has {len(raw)} bytes, but {records} records of {size} bytes "
            f"are {records * size}; {help_text}"
        )
    table = np.frombuffer(raw, np.uint8).reshape(records, size)
    labels = table[:, label_bytes - 1].astype(np.int64)
    _check_labels(path, labels, classes, help_text)
    return table[:, label_bytes:].reshape(-1, 3, 32, 32).copy(), labels


def read_pickled(path: Path, *, md5: str, label_key: bytes, classes: int, help_text: str) -> Arrays:
    """Read a file of the published Python layout, as torchvision keeps it.

    A pickle may run code. So the bytes must have the published MD5 before they are looked at, and then only
    NumPy's own array constructors may be called.

    Args:
        path: the file.
        md5: the published digest, in hex.
        label_key: b"labels" (CIFAR-10) or b"fine_labels" (CIFAR-100).
        classes: labels must be below it.
        help_text: what the user can do; the end of every message.

    Returns:
        Images, uint8 [N, 3, 32, 32], and labels, int64 [N].

    Raises:
        UserError: the file is missing, or not the published one.
    """
    raw = read_bytes(path, help_text)
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UserError(
            f"{path} is not the published file: its MD5 is {found}, not {md5}; it was not opened; {help_text}"
        )
    try:
        content = _ArrayUnpickler(io.BytesIO(raw), encoding="bytes").load()
        images = np.ascontiguousarray(content[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(content[label_key], dtype=np.int64)
    except (pickle.UnpicklingError, KeyError, TypeError, ValueError, EOFError) as error:
        raise UserError(f"{path} does not hold CIFAR images and labels ({error}); {help_text}") from error
    _check_labels(path, labels, classes, help_text)
    return images, labels


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.ndarray(0).__reduce__()[0]  # the same function under every NumPy's module names
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in it")


def _check_labels(path: Path, labels: np.ndarray, classes: int, help_text: str) -> None:
    if labels.min() < 0 or labels.max() >= classes:
        worst = labels.max() if labels.max() >= classes else labels.min()
        raise UserError(f"{path} is foreign: it has a label {worst}, but labels are 0 to {classes - 1}; {help_text}")

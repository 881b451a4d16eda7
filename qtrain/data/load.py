"""`load_data`: from a data set's name to its three splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from qtrain.data.cifar import CIFAR10, CIFAR100, CifarFormat, load_cifar
from qtrain.data.dataset import DataSet, Split
from qtrain.data.digits import CLASS_NAMES, load_digits
from qtrain.errors import UserError

PROTOCOLS = ("holdout", "paper")


@dataclass(frozen=True)
class _Source:
    class_names: tuple[str, ...]
    flip: bool
    validation_size: int
    read: Callable[[str | Path | None, bool], tuple[Split, Split]]


def _cifar(layout: CifarFormat) -> _Source:
    return _Source(layout.class_names, True, 5000, lambda root, download: load_cifar(layout, root, download=download))


_SOURCES = {
    "digits": _Source(CLASS_NAMES, False, 300, lambda root, download: load_digits()),
    "cifar10": _cifar(CIFAR10),
    "cifar100": _cifar(CIFAR100),
}
DATASETS = tuple(_SOURCES)


def class_names(name: str) -> tuple[str, ...]:
    """Return a data set's class names, in the order of its labels; nothing is read.

    Raises:
        UserError: no such data set.
    """
    if name not in _SOURCES:
        raise UserError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}")
    return _SOURCES[name].class_names


def load_data(
    name: str,
    *,
    root: str | Path | None = None,
    seed: int = 0,
    validation_size: int | None = None,
    protocol: str = "holdout",
    download: bool = True,
) -> DataSet:
    """Load a data set whole into memory, as uint8.

    Args:
        name: one of `DATASETS`.
        root: folder that holds the data or is to hold them; default the folder that QTRAIN_DATA names, else the
            user's cache. "digits" needs none.
        seed: draws the validation split, 0 to 2**32 - 1; the test set never depends on it.
        validation_size: images in the validation split; default 300 of digits' 1,400, 5,000 of CIFAR's 50,000.
        protocol: "holdout" splits the validation images off the training set, with the same share of each class;
            "paper" trains on the whole training set and validates on the test set.
        download: whether missing data may be downloaded.

    Raises:
        UserError: an unknown name or protocol, a size or seed out of range, data that are missing or damaged.
    """
    names = class_names(name)
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed {seed} is out of range; choose from 0 to {2**32 - 1}")
    if protocol == "paper" and validation_size is not None:
        raise UserError(
            f"validation_size {validation_size} has no meaning under the protocol 'paper', which validates on the "
            "test set; leave it out or choose 'holdout'"
        )
    source = _SOURCES[name]
    train, test = source.read(root, download)
    validation = test
    if protocol == "holdout":
        size = source.validation_size if validation_size is None else validation_size
        train, validation = hold_out(train, size, seed=seed, classes=len(names))
    return DataSet(name, len(names), names, protocol, source.flip, train, validation, test)


def hold_out(split: Split, size: int, *, seed: int, classes: int) -> tuple[Split, Split]:
    """Split `size` validation images off, each class in its proportion; both parts come in random order.

    Returns:
        What remains to train with, and the validation split.

    Raises:
        UserError: `size` leaves less than one image a class on either side.
    """
    from sklearn.model_selection import train_test_split

    if not classes <= size <= len(split) - classes:
        raise UserError(
            f"validation_size {size} is out of range for {len(split)} training images of {classes} classes; "
            f"choose from {classes} to {len(split) - classes}"
        )
    labels = split.labels.numpy()
    rest, held = train_test_split(torch.arange(len(split)).numpy(), test_size=size, stratify=labels, random_state=seed)
    return split.select(torch.from_numpy(rest)), split.select(torch.from_numpy(held))

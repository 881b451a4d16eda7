"""`load_data`: from a data set's name to its three splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from qtrain.data.cifar import CIFAR10, CIFAR100, CifarFormat, load_cifar
from qtrain.data.crop import CROP
from qtrain.data.dataset import DataSet, Split
from qtrain.data.digits import CLASS_NAMES, load_digits
from qtrain.data.folder_tree import read_tree, tree_classes
from qtrain.errors import UserError

PROTOCOLS = ("holdout", "paper")


Root = str | Path | None


@dataclass(frozen=True)
class _Source:
    class_names: Callable[[Root], tuple[str, ...]]
    flip: bool
    validation_size: Callable[[int, int], int]  # of training images and classes
    read: Callable[[Root, bool], tuple[Split, Split]]
    image_size: int = 32


def _cifar(layout: CifarFormat) -> _Source:
    return _Source(
        lambda root: layout.class_names,
        True,
        lambda images, classes: 5000,
        lambda root, download: load_cifar(layout, root, download=download),
    )


_SOURCES = {
    "digits": _Source(
        lambda root: CLASS_NAMES, False, lambda images, classes: 300, lambda root, download: load_digits()
    ),
    "cifar10": _cifar(CIFAR10),
    "cifar100": _cifar(CIFAR100),
    "imagenet": _Source(
        lambda root: tree_classes("imagenet", root),
        True,
        lambda images, classes: max(classes, min(10_000, images // 5)),
        lambda root, download: read_tree("imagenet", root),
        CROP,
    ),
}
DATASETS = tuple(_SOURCES)


def class_names(name: str, root: Root = None) -> tuple[str, ...]:
    """Return a data set's class names, in the order of its labels; no image is read.

    Args:
        name: one of `DATASETS`.
        root: of "imagenet", whose classes are the folders of its tree; as for `load_data`.

    Raises:
        UserError: no such data set, or no tree there.
    """
    return _source(name).class_names(root)


def image_size(name: str) -> int:
    """Return the height and width of a data set's images, in pixels, as networks get them.

    Raises:
        UserError: no such data set.
    """
    return _source(name).image_size


def _source(name: str) -> _Source:
    if name not in _SOURCES:
        raise UserError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}")
    return _SOURCES[name]


def load_data(
    name: str,
    *,
    root: Root = None,
    seed: int = 0,
    validation_size: int | None = None,
    protocol: str = "holdout",
    download: bool = True,
) -> DataSet:
    """Load a data set: whole into memory as uint8, or, of "imagenet", the names of its files.

    Args:
        name: one of `DATASETS`.
        root: folder that holds the data or is to hold them; default the folder that QTRAIN_DATA names, else the
            user's cache. "digits" needs none; "imagenet" has train/CLASS/*.jpg and val/CLASS/*.jpg there and no cache.
        seed: draws the validation split, 0 to 2**32 - 1; the test set never depends on it.
        validation_size: images in the validation split; default 300 of digits' 1,400, 5,000 of CIFAR's 50,000,
            10,000 of ImageNet's 1,281,167 (a fifth of a tree with less than 50,000).
        protocol: "holdout" splits the validation images off the training set, with the same share of each class;
            "paper" trains on the whole training set and validates on the test set.
        download: whether missing data may be downloaded.

    Raises:
        UserError: an unknown name or protocol, a size or seed out of range, data that are missing or damaged.
    """
    source = _source(name)
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed {seed} is out of range; choose from 0 to {2**32 - 1}")
    if protocol == "paper" and validation_size is not None:
        raise UserError(
            f"validation_size {validation_size} has no meaning under the protocol 'paper', which validates on the "
            "test set; leave it out or choose 'holdout'"
        )
    names = source.class_names(root)
    train, test = source.read(root, download)
    validation = test
    if protocol == "holdout":
        usual = source.validation_size(len(train), len(names))
        size = usual if validation_size is None else validation_size
        train, validation = hold_out(train, size, seed=seed, classes=len(names))
    return DataSet(name, len(names), names, protocol, source.flip, train, validation, test)


def hold_out(split: Split, size: int, *, seed: int, classes: int) -> tuple[Split, Split]:
    """Split `size` validation images off, each class in its proportion; both parts come in random order.

    Returns:
        What remains to train with, and the validation split.

    Raises:
        UserError: `size` leaves less than one image a class on either side, or a class has one image only.
    """
    from sklearn.model_selection import train_test_split

    if not classes <= size <= len(split) - classes:
        raise UserError(
            f"validation_size {size} is out of range for {len(split)} training images of {classes} classes; "
            f"choose from {classes} to {len(split) - classes}"
        )
    labels = split.labels.numpy()
    if (counts := split.labels.bincount(minlength=classes)).min() < 2:
        raise UserError(
            f"class {int(counts.argmin())} has one training image, and a validation split needs two or more of each; "
            "add images, or choose the protocol 'paper'"
        )
    rest, held = train_test_split(torch.arange(len(split)).numpy(), test_size=size, stratify=labels, random_state=seed)
    return split.select(torch.from_numpy(rest)), split.select(torch.from_numpy(held))

"""`load_data`: from a data set's name to its three splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from qtrain.data.catalogue import DATASETS, Source, check_class_names
from qtrain.data.dataset import DataSet, Split
from qtrain.data.image_folder import FolderSplit
from qtrain.errors import UserError

PROTOCOLS = ("holdout", "paper")
MOST_HELD_OUT = 10_000  # where neither the data set nor the user says how many

Root = str | Path | None


def class_names(name: str, root: Root = None) -> tuple[str, ...]:
    """Return a data set's class names, in the order of its labels; no image is read.

    Args:
        name: one of `DATASETS`.
        root: of "imagenet", whose classes are the folders of its tree; as for `load_data`.

    Raises:
        UserError: no such data set, no tree there, or a package that is broken.
    """
    reference = _source(name).class_names
    if not isinstance(reference, str):
        return reference
    with DATASETS.blaming(name):
        found: Any = DATASETS.load(name, reference)
        names: tuple[str, ...] = found(root) if callable(found) else found
    try:
        check_class_names(names)
    except UserError as error:
        raise UserError(f"{DATASETS.origin(name)}, {reference}: {error}") from None
    return names


def image_size(name: str) -> int:
    """Return the height and width of a data set's images, in pixels, as networks get them.

    Raises:
        UserError: no such data set, or its package is broken.
    """
    return _source(name).image_size


def _source(name: str) -> Source:
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS.names())}{DATASETS.hint(name)}")
    return DATASETS.get(name)


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
            10,000 of ImageNet's 1,281,167 (a fifth of a tree with less than 50,000); a package's own number, or as
            ImageNet's.
        protocol: "holdout" splits the validation images off the training set, with the same share of each class;
            "paper" trains on the whole training set and validates on the test set.
        download: whether missing data may be downloaded.

    Raises:
        UserError: an unknown name or protocol, a size or seed out of range, data that are missing or damaged, or a
            package that is broken.
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
    names = class_names(name, root)
    train, test = _read(name, source, len(names), root, download)
    validation = test
    if protocol == "holdout":
        usual = source.validation_size or max(len(names), min(MOST_HELD_OUT, len(train) // 5))
        size = usual if validation_size is None else validation_size
        train, validation = hold_out(train, size, seed=seed, classes=len(names))
    return DataSet(name, len(names), names, protocol, source.flip, train, validation, test)


def _read(name: str, source: Source, classes: int, root: Root, download: bool) -> tuple[Split, Split]:
    """Return the images to train and validate with and the test images, as a row promises them."""
    with DATASETS.blaming(name):
        found: Any = DATASETS.load(name, source.read)(root, download)
    origin = DATASETS.origin(name)
    if not (isinstance(found, tuple) and len(found) == 2 and all(isinstance(split, Split) for split in found)):
        kind = type(found).__name__
        raise UserError(f"{origin}: {source.read} must return two qtrain.data.Split, but returned a {kind}")
    wanted = [3, source.image_size, source.image_size]
    for split in found:
        if isinstance(split, FolderSplit) != source.in_files:
            kind = type(split).__name__
            raise UserError(f"{origin}: in_files is {source.in_files}, but {source.read} returned a {kind}")
        if not source.in_files and list(split.images.shape[1:]) != wanted:
            shape = list(split.images.shape[1:])
            raise UserError(f"{origin}: images must be {wanted}, as its row says, but {source.read} returned {shape}")
        if not len(split):
            raise UserError(f"{origin}: {source.read} returned a split without images")
        low = int(split.labels.min())
        high = int(split.labels.max())
        if low < 0 or high >= classes:
            raise UserError(f"{origin}: labels must be from 0 to {classes - 1}, but {source.read} has {low} to {high}")
    return found


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

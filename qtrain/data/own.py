"""Data of one's own, however they are named: a folder of images, arrays, or ``my_module:load``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from qtrain.data.catalogue import DATASETS
from qtrain.data.image_folder import FolderSplit
from qtrain.data.loaded import Loaded
from qtrain.data.names import FORMS, Root, place_of
from qtrain.data.options import DataOptions
from qtrain.data.own_arrays import holds_arrays, read_arrays
from qtrain.data.own_loader import read_own
from qtrain.data.own_tree import read_tree, tree_classes, tree_shape
from qtrain.errors import UserError

Facts = tuple[tuple[str, ...], tuple[int, int, int]]
_KEPT = 1 << 30  # bytes of inputs that are kept for the next time that the same data are asked for

_last: dict[Any, Loaded] = {}
_facts: dict[Any, Facts] = {}


def own_facts(name: str, root: Root, options: DataOptions) -> Facts:
    """Return class names and shape (C, H, W) of data of one's own; what must be read is read once.

    Raises:
        UserError: as ``load_own`` does.
    """
    if _is_tree(name, root):
        place = place_of(name, root)
        return tree_classes(place), tree_shape(place, options)
    key = _key(name, root, options)
    if key not in _facts:
        load_own(name, root, options)
    return _facts[key]


def load_own(name: str, root: Root, options: DataOptions) -> Loaded:
    """Read data of one's own.

    Args:
        name: a folder of images or of ``.npy`` files, an ``.npz`` file, or ``my_module:load``.
        root: where a folder or file is looked for too; handed to ``load`` as ``root``.
        options: how they are read.

    Raises:
        UserError: there is nothing of this name, or it is not as it should be; says what to do.
    """
    if _is_tree(name, root):
        found = _read(name, root, options)
        _check(found, name)
        return found
    key = _key(name, root, options)
    if key in _last:
        return _last[key]
    found = _read(name, root, options)
    _check(found, name)
    _facts[key] = (found.class_names, found.train.shape)
    _last.clear()
    if _size(found) <= _KEPT:
        _last[key] = found
    return found


def _size(found: Loaded) -> int:
    """Return the bytes of the inputs that are in memory."""
    splits = [split for split in (found.train, found.test, found.validation) if split is not None]
    return sum(split.images.nbytes for split in splits if not isinstance(split, FolderSplit))


def _is_tree(name: str, root: Root) -> bool:
    """Whether it is a folder of images, whose facts are had without decoding them."""
    place = place_of(name, root)
    return not _is_code(name) and place.is_dir() and not holds_arrays(place)


def _is_code(name: str) -> bool:
    return ":" in name and not Path(name).exists()


def _read(name: str, root: Root, options: DataOptions) -> Loaded:
    if _is_code(name):
        return read_own(name, root, options)
    place = place_of(name, root)
    if not place.exists():
        known = ", ".join(DATASETS.names())
        raise UserError(f"{name} does not exist; name {FORMS}, or one of {known}")
    if holds_arrays(place):
        return read_arrays(place, options)
    if place.is_dir():
        return read_tree(place, options)
    raise UserError(f"{place} is a file but no .npz; name {FORMS}")


def _key(name: str, root: Root, options: DataOptions) -> Any:
    """Return what tells two readings apart: name, options, and when the files were changed."""
    if _is_code(name):
        return name, os.getcwd(), str(root), options
    place = place_of(name, root)
    files = sorted(place.glob("*.npy")) if place.is_dir() else [place]
    stamps = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.exists())
    return str(place.resolve()), str(root), options, stamps


def _check(found: Loaded, name: str) -> None:
    """See that labels are those of the classes, that there are two or more, and that each class is in every split.

    Raises:
        UserError: says which split lacks what.
    """
    classes = len(found.class_names)
    if classes < 2:
        raise UserError(f"{name} has one class, {found.class_names[0]}; training needs two or more")
    for what, split in (("train", found.train), ("validation", found.validation), ("test", found.test)):
        if split is None:
            continue
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= classes:
            raise UserError(
                f"{name} has labels from {low} to {high} in its {what} split, but {classes} classes: they must be "
                f"class numbers from 0 to {classes - 1}"
            )
        counts = torch.bincount(split.labels, minlength=classes)
        if int(counts.min()) == 0:
            _missing(found, name, what, int(counts.argmin()))


def _missing(found: Loaded, name: str, what: str, label: int) -> None:
    first = int(found.train.labels.min())
    if what == "train" and label == 0 and first == 1:
        raise UserError(f"{name} has no label 0 in its train split: labels start at 1; subtract 1, so that 0 is first")
    known = found.class_names[label]
    shown = f"{label}" if known == str(label) else f"{label} ({known})"
    mend = "number the classes without gaps" if what == "train" else f"add some, or leave the {what} split out"
    raise UserError(f"{name} has no input of class {shown} in its {what} split; {mend}")

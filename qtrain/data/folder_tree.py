"""Where an image-folder tree lies, its classes and its files; nothing is decoded here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from qtrain.data.image_folder import FolderSplit, default_workers
from qtrain.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png")
TRAIN = "train"
TEST = "val"
_TREE = f"a folder with {TRAIN}/CLASS/*.jpg and {TEST}/CLASS/*.jpg"


def tree_root(name: str, root: str | Path | None) -> Path:
    """Return the folder that holds train and val: ``root`` or what QTRAIN_DATA names, or ``name`` inside it.

    Raises:
        UserError: no folder is named, or it holds no tree.
    """
    place = root or os.environ.get("QTRAIN_DATA")
    if not place:
        raise UserError(f"{name} is never downloaded; name {_TREE} with --data-root or QTRAIN_DATA")
    folder = Path(place).expanduser()
    for candidate in (folder, folder / name):
        if (candidate / TRAIN).is_dir() and (candidate / TEST).is_dir():
            return candidate
    raise UserError(f"no {name} in {folder}: it must be {_TREE}, or hold them in {name}; it is never downloaded")


def tree_classes(name: str, root: str | Path | None) -> tuple[str, ...]:
    """Return the names of the class folders under train, sorted: the order of the labels.

    Raises:
        UserError: no such tree, or less than two classes.
    """
    folder = tree_root(name, root) / TRAIN
    classes = _class_folders(folder)
    if len(classes) < 2:
        raise UserError(f"{folder} holds {len(classes)} class folders; it needs two or more, each with its images")
    return classes


def read_tree(name: str, root: str | Path | None) -> tuple[FolderSplit, FolderSplit]:
    """List the images under train and val, class by class in sorted order.

    Raises:
        UserError: no such tree, classes that differ between train and val, or a class without images.
    """
    classes = tree_classes(name, root)
    place = tree_root(name, root)
    if odd := sorted(set(classes) ^ set(_class_folders(place / TEST))):
        there, lacks = (TRAIN, TEST) if odd[0] in classes else (TEST, TRAIN)
        more = f" ({len(odd)} classes differ)" if len(odd) > 1 else ""
        raise UserError(f"{place / lacks} has no class {odd[0]}, but {place / there} has{more}; give both the same")
    return _list_images(place / TRAIN, classes), _list_images(place / TEST, classes)


def imagenet_classes(root: str | Path | None) -> tuple[str, ...]:
    """Return ImageNet's class names, as ``tree_classes`` does."""
    return tree_classes("imagenet", root)


def read_imagenet(root: str | Path | None, download: bool) -> tuple[FolderSplit, FolderSplit]:
    """Return ImageNet's splits, as ``read_tree`` does; ``download`` plays no part, as it is never downloaded."""
    return read_tree("imagenet", root)


def _class_folders(folder: Path) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")))


def _list_images(folder: Path, classes: tuple[str, ...]) -> FolderSplit:
    paths: list[bytes] = []
    counts = []
    for name in classes:
        with os.scandir(folder / name) as entries:
            names = sorted(e.name for e in entries if e.name.lower().endswith(SUFFIXES) and not e.name.startswith("."))
        if not names:
            raise UserError(
                f"{folder / name} holds no images ({', '.join(SUFFIXES)}); fill it, or take the class out of "
                f"{TRAIN} and {TEST}"
            )
        paths += [os.fsencode(folder / name / file) for file in names]
        counts.append(len(names))
    labels = torch.arange(len(classes)).repeat_interleave(torch.tensor(counts))
    return FolderSplit(np.array(paths), labels, default_workers(len(paths)))

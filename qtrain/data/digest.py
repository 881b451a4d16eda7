"""What tells a data set from another one of the same name."""

from __future__ import annotations

import hashlib
import os
from pathlib import PurePath

from qtrain.data.dataset import DataSet, Split
from qtrain.data.image_folder import FolderSplit
from qtrain.data.load import load_data
from qtrain.data.names import Root
from qtrain.data.options import PLAIN, DataOptions


def data_digest(name: str, root: Root = None, options: DataOptions = PLAIN) -> str:
    """Return 64 hexadecimal digits of a data set as it lies here; it is read whole for that.

    They are of all inputs and labels, in the order that a seed draws. Of images that stay in their files they are of
    the files' names and labels, and of a folder of one's own of names and sizes: reading a million images takes hours.

    Args:
        name: as for ``load_data``.
        root: as for ``load_data``.
        options: as for ``load_data``.

    Raises:
        UserError: as ``load_data`` does.
    """
    data = load_data(name, root=root, options=options)
    return data.digest or _of_splits(data)


def _of_splits(data: DataSet) -> str:
    known = hashlib.sha256()
    for split in (data.train, data.validation, data.test):
        known.update(f"{len(split)} {split.shape}\0".encode())
        _add(known, split)
        known.update(split.labels.contiguous().numpy().data)
    return known.hexdigest()


def _add(known: hashlib._Hash, split: Split) -> None:
    if not isinstance(split, FolderSplit):
        known.update(split.images.contiguous().numpy().data)
        return
    for path in split.paths:
        known.update(os.fsencode("/".join(PurePath(os.fsdecode(path)).parts[-2:])) + b"\0")

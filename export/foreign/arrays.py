"""NumPy's files of any origin: the sizes that they declare are held against their bytes before they are read."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from qtrain.errors import UserError
from qtrain.export.foreign.boundary import one_line
from qtrain.records.arrays import read_array
from qtrain.records.plain_files import open_plain


def read_npy(path: Path) -> np.ndarray:
    """Read a ``.npy`` file of numbers.

    Raises:
        UserError: it is damaged, holds objects, or declares another size than it has.
        OSError: it cannot be opened.
    """
    with open_plain(path) as file, one_line(path):
        size = os.fstat(file.fileno()).st_size
        return read_array(file, size, str(path))


def read_npz(path: Path, *names: str) -> list[np.ndarray]:
    """Read arrays of a ``.npz`` file that ``numpy.savez`` wrote.

    Raises:
        UserError: it is damaged, an array is missing, compressed, or declares another size than it has.
        OSError: it cannot be opened.
    """
    with open_plain(path) as file, one_line(path), zipfile.ZipFile(file) as archive:
        size = os.fstat(file.fileno()).st_size
        arrays = []
        for name in names:
            if f"{name}.npy" not in archive.namelist():
                raise UserError(f"{path} has no {name} in it; export the run again")
            entry = archive.getinfo(f"{name}.npy")
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
                raise UserError(f"{name} in {path} is compressed or larger than the file; export the run again")
            with archive.open(entry) as array:
                arrays.append(read_array(array, entry.file_size, f"{name} in {path}"))
        return arrays

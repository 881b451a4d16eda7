"""NumPy's files of any origin: the sizes that they declare are held against their bytes before they are read."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from qtrain.errors import UserError
from qtrain.export.foreign.boundary import one_line

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _array(file: IO[bytes], size: int, name: str) -> np.ndarray:
    """Read one array of ``size`` bytes, its header included."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise UserError(f"{name} is a NumPy file of version {version}, which is not read; write it with numpy.save")
    shape, by_column, kind = _HEADERS[version](file)
    if kind.hasobject:
        raise UserError(f"{name} holds Python objects, which could run code; write it as an array of numbers")
    needed = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or file.tell() + needed != size:
        raise UserError(f"{name} declares {list(shape)} of {kind}, but has {size} bytes; write it anew")
    values = np.frombuffer(file.read(needed), dtype=kind).reshape(shape, order="F" if by_column else "C")
    return values.copy()


def read_npy(path: Path) -> np.ndarray:
    """Read a ``.npy`` file of numbers.

    Raises:
        UserError: it is damaged, holds objects, or declares another size than it has.
        OSError: it cannot be opened.
    """
    size = path.stat().st_size
    with path.open("rb") as file, one_line(path):
        return _array(file, size, str(path))


def read_npz(path: Path, *names: str) -> list[np.ndarray]:
    """Read arrays of a ``.npz`` file that ``numpy.savez`` wrote.

    Raises:
        UserError: it is damaged, an array is missing, compressed, or declares another size than it has.
        OSError: it cannot be opened.
    """
    size = path.stat().st_size
    with path.open("rb") as file, one_line(path), zipfile.ZipFile(file) as archive:
        arrays = []
        for name in names:
            if f"{name}.npy" not in archive.namelist():
                raise UserError(f"{path} has no {name} in it; export the run again")
            entry = archive.getinfo(f"{name}.npy")
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
                raise UserError(f"{name} in {path} is compressed or larger than the file; export the run again")
            with archive.open(entry) as array:
                arrays.append(_array(array, entry.file_size, f"{name} in {path}"))
        return arrays

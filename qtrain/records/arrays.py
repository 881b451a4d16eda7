"""NumPy's files of any origin: the sizes that they declare are held against their bytes before they are read."""

from __future__ import annotations

import math
from typing import IO

import numpy as np

from qtrain.errors import UserError

_AT_ONCE = 1 << 24  # bytes that are read at a time
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class ObjectsError(UserError):
    """An array holds Python objects."""


def read_array(file: IO[bytes], size: int, name: str) -> np.ndarray:
    """Read one array of numbers or texts.

    Args:
        file: at the array's header.
        size: in bytes, the header included.
        name: of the array, for errors.

    Raises:
        UserError: it holds objects, is of another version, or declares another size than it has.
        Exception: whatever NumPy raises over a damaged header.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise UserError(f"{name} is a NumPy file of version {version}, which is not read; write it with numpy.save")
    shape, by_column, kind = _HEADERS[version](file)
    if kind.hasobject:
        raise ObjectsError(f"{name} holds Python objects, which could run code; write it as an array of numbers")
    needed = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or file.tell() + needed != size:
        raise UserError(f"{name} declares {list(shape)} of {kind}, but has {size} bytes; write it anew")
    values = np.empty(needed, np.uint8)
    done = 0
    while part := file.read(min(_AT_ONCE, needed - done)):
        values[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    if done < needed:
        raise UserError(f"{name} ends after {done} of {needed} bytes; write it anew")
    return values.view(kind).reshape(shape, order="F" if by_column else "C")

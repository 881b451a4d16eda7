"""Files that are there whole or not at all."""

import errno
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qtrain.records.checksum import with_checksum

_PIECE = 1 << 20


def write_whole(
    path: Path, content: bytes | memoryview, *, read_back: bool = False, before: Path | None = None
) -> None:
    """Write beside ``path``, then move it there: a reader, or a power cut, meets the old file or the new one, whole.

    Args:
        path: of the file.
        content: of it.
        read_back: see first that the disk holds what was written.
        before: where the old file is kept, if there is one; the one that was kept there until now is gone then.

    Raises:
        OSError: it cannot be written, or the disk holds something else afterwards; the old files are as they were.
    """
    partial = _beside(path)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name with nothing in it
        if read_back:
            _check_written(partial, content)
        if before is not None and path.exists():
            _keep(path, before)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _check_written(path: Path, content: bytes | memoryview) -> None:
    """Read a synced file, from the disk where the system can be asked for that, and compare it."""
    whole = memoryview(content)
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for start in range(0, len(whole), _PIECE):
            if file.read(_PIECE) != bytes(whole[start : start + _PIECE]):
                raise OSError(errno.EIO, "the disk does not hold what was written", str(path))


def _keep(path: Path, before: Path) -> None:
    """Give a file a second name, so that at no moment it has none."""
    second = _beside(before)
    second.unlink(missing_ok=True)  # of a kill
    try:
        os.link(path, second)
    except OSError:  # a file system without links
        os.replace(path, before)
        return
    try:
        os.replace(second, before)
    finally:
        second.unlink(missing_ok=True)  # it stays where both names were one file already


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values with their checksum as an indented JSON file, whole or not at all."""
    write_whole(path, f"{json.dumps(with_checksum(values), indent=2)}\n".encode())


def json_line(record: Mapping[str, Any]) -> str:
    """Return plain values with their checksum as a line."""
    return f"{json.dumps(with_checksum(record))}\n"


def write_json_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write plain values as JSON lines, each with its checksum, whole or not at all."""
    write_whole(path, "".join(map(json_line, records)).encode())

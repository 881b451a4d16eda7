"""Files that are there whole or not at all."""

import errno
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.records.checksum import with_checksum
from qtrain.records.leftovers import partial_of

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
            Names ``path``.
    """
    partial = partial_of(path)
    with writing(path, partial):
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


@contextmanager
def writing(path: Path, work: Path | None = None) -> Iterator[None]:
    """Inside, an error of the operating system that names no file, as that of a full disk, is made to name ``path``.

    Args:
        path: that is written.
        work: the file or folder that becomes ``path`` at the end, whose name is nobody's concern.

    Raises:
        OSError: as inside.
    """
    try:
        yield
    except BrokenPipeError:  # not a file's
        raise
    except OSError as error:
        named = error.filename
        if named is not None and not (work is not None and Path(os.fsdecode(named)).is_relative_to(work)):
            raise
        why = error.strerror or f"not all of it was written ({error})"  # by NumPy, which has no number for that
        raise OSError(error.errno or errno.EIO, why, str(path)) from error


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a folder for what is needed on the way, which is taken away afterwards; TMPDIR says where it lies.

    Args:
        prefix: of its name.

    Raises:
        UserError: none can be made.
        OSError: as inside; one that names no file names the folder.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"no temporary folder can be made ({why}); name a place for it with TMPDIR") from error
    with made as name, writing(Path(name)):
        yield Path(name)


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
    second = partial_of(before)
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
    write_whole(path, json_text(values).encode())


def json_text(values: Mapping[str, Any]) -> str:
    """Return plain values with their checksum as the text of an indented JSON file."""
    return f"{json.dumps(with_checksum(values), indent=2)}\n"


def json_line(record: Mapping[str, Any]) -> str:
    """Return plain values with their checksum as a line."""
    return f"{json.dumps(with_checksum(record))}\n"


def write_json_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write plain values as JSON lines, each with its checksum, whole or not at all."""
    write_whole(path, "".join(map(json_line, records)).encode())

"""Files that are written whole or not at all, and how a file of anybody's is read: a plain one, of a bounded size."""

import errno
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from qtrain.errors import UserError
from qtrain.records.checksum import with_checksum

MOST_TEXT = 64 << 20  # bytes of a file of records; the longest of a sweep have a tenth of that

# What a path may lead to beside a file.
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

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


def open_plain(path: Path | str) -> BinaryIO:
    """Open a file for reading once it is known to be one: a pipe would wait for ever, and a device never end.

    Raises:
        UserError: it is a folder, pipe, socket or device, or the name is none that a file can have.
        OSError: it cannot be opened.
    """
    try:
        _check_plain(path, os.stat(path).st_mode)  # before it is opened, which by itself makes some devices act
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except UserError:
        raise
    except ValueError:  # a NUL, or half of a character
        raise UserError(f"{str(path)!r} is no name of a file; name another") from None
    file = os.fdopen(number, "rb")
    try:
        _check_plain(path, os.fstat(number).st_mode)  # it may have been exchanged meanwhile
    except UserError:
        file.close()
        raise
    return file


def read_plain(path: Path, most: int = MOST_TEXT) -> bytes:
    """Read a whole file of at most so many bytes.

    Raises:
        UserError: as ``open_plain``, or it has more.
        OSError: it cannot be read.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size <= most else b""
        if len(content) > size:  # it grows, or is one of those that are made as they are read
            content += file.read(most + 1 - len(content))
    if max(size, len(content)) > most:
        raise UserError(f"{path} has over {_amount(most)}, which no such file of qtrain's has; name another")
    return content


def read_plain_text(path: Path, most: int = MOST_TEXT) -> str:
    """Read a whole file of text in UTF-8, whatever ends its lines.

    Raises:
        UserError: as ``read_plain``.
        UnicodeDecodeError: it is no such text.
        OSError: it cannot be read.
    """
    text = read_plain(path, most).decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_name(text: str) -> bool:
    """Whether a text names something in a folder, and leads nowhere else."""
    return text not in ("", ".", "..") and not set(text) & {"/", "\0"}


def _check_plain(path: Path | str, mode: int) -> None:
    for is_kind, what in _KINDS:
        if is_kind(mode):
            raise UserError(f"{path} is {what}, and a file is needed; name one")


def _amount(size: int) -> str:
    return f"{size >> 20} MiB" if size >> 20 else f"{size >> 10} KiB"

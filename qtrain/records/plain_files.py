"""How a file of anybody's is read: a plain one, of a bounded size."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from qtrain.errors import UserError

MOST_TEXT = 64 << 20  # bytes of a file of records; the longest of a sweep have a tenth of that

# What a path may lead to beside a file.
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


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

"""Files that are there whole or not at all."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qtrain.errors import UserError


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write beside ``path``, then move it there: a reader, or a power cut, meets the old file or the new one, whole.

    Raises:
        OSError: it cannot be written; names ``path``.
    """
    partial = path.with_name(f".{path.name}.partial")
    with writing(path, partial):
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # else a power cut can leave the new name with nothing in it
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


def write_json(path: Path, values: Any) -> None:
    """Write plain values as an indented JSON file, whole or not at all."""
    write_whole(path, f"{json.dumps(values, indent=2)}\n".encode())


def write_json_lines(path: Path, records: Any) -> None:
    """Write plain values as JSON lines, whole or not at all."""
    write_whole(path, "".join(f"{json.dumps(record)}\n" for record in records).encode())

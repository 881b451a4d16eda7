"""What a killed process has left of files and folders that were being made, and what is free for all that."""

import shutil
from collections.abc import Collection
from pathlib import Path

from qtrain.records.lock import LOCK

PARTIAL = ".partial"  # ends the name of what is half written; the name begins with a dot


def partial_of(path: Path) -> Path:
    """Return where a file or folder is made, until it is whole."""
    return path.with_name(f".{path.name}{PARTIAL}")


def is_left_over(name: str) -> bool:
    """Whether a file of this name is a lock or half written: where nobody is at work, a killed process left it."""
    return name.startswith(".") and name.endswith((PARTIAL, LOCK))


def is_free(folder: Path, but: Collection[str] = ()) -> bool:
    """Whether something new may be made at ``folder``: it is missing, or holds nothing but leftovers and ``but``."""
    if not folder.is_dir():
        return not folder.exists()
    return all(path.name in but or is_left_over(path.name) for path in folder.iterdir())


def remove_left_over(folder: Path) -> None:
    """Take away half-written files, of whoever was killed: who calls this holds the folder."""
    for path in folder.iterdir():
        if path.name != LOCK and is_left_over(path.name) and path.is_file():
            path.unlink()


def clear(folder: Path, last: str = "") -> None:
    """Take away all that is in a folder, if it is there, but its lock: who calls this holds it.

    Args:
        folder: to be cleared.
        last: the file that says what the rest is, and goes behind it: a kill in between leaves it there.
    """
    entries = list(folder.iterdir()) if folder.is_dir() else []
    for path in sorted(entries, key=lambda path: path.name == last):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()

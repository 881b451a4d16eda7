"""Files that are there whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write beside ``path``, then move it there: a reader, or a power cut, meets the old file or the new one, whole."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name with nothing in it
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

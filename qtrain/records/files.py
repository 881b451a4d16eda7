"""Files that are there whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


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


def write_json(path: Path, values: Any) -> None:
    """Write plain values as an indented JSON file, whole or not at all."""
    write_whole(path, f"{json.dumps(values, indent=2)}\n".encode())


def write_json_lines(path: Path, records: Any) -> None:
    """Write plain values as JSON lines, whole or not at all."""
    write_whole(path, "".join(f"{json.dumps(record)}\n" for record in records).encode())

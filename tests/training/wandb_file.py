"""Reads what W&B has written in its offline mode: protocol buffers in the log format of LevelDB."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768  # bytes; a record's pieces do not cross its end
HEAD = 7  # bytes in front of each piece (checksum, length, kind), and of the whole file
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def pieces(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and bytes of each piece."""
    at = HEAD
    while at + HEAD <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEAD:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + HEAD])
        if kind == 0:
            return
        yield kind, content[at + HEAD : at + HEAD + length]
        at += HEAD + length


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a ``.wandb`` file."""
    from wandb.proto import wandb_internal_pb2

    whole = b""
    for kind, piece in pieces(path.read_bytes()):
        whole = piece if kind in (FULL, FIRST) else whole + piece
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record


def values(items: Any) -> dict[str, Any]:
    """Return names with their values."""
    return {(item.key or ".".join(item.nested_key)): json.loads(item.value_json) for item in items}


def history(path: Path) -> list[dict[str, Any]]:
    """Return what was logged, a dictionary a call."""
    found = []
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = values(record.history.item)
            found.append({name: value for name, value in items.items() if not name.startswith("_")})
    return found


def summary(path: Path) -> dict[str, Any]:
    """Return the numbers of the summary that were set."""
    found: dict[str, Any] = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "summary":
            found |= values(record.summary.update)
    return found


def config(path: Path) -> dict[str, Any]:
    """Return the configuration that the run began with."""
    found: dict[str, Any] = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "run":
            found |= values(record.run.config.update)
    return found

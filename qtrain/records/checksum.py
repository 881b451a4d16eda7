"""A checksum among the entries of a JSON object, so that a bit flipped in a digit is not taken for a value.

It is of the entries as Python writes them, in their order: a file may be indented anew, but no value may change. A file
of before this has none, and is read as it is.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

KEY = "checksum"
_KIND = "crc32:"


def with_checksum(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries with their checksum behind them."""
    plain = _plain(entries)
    return {**plain, KEY: _checksum(plain)}


def without_checksum(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Check what was read by its checksum, where it has one, and return the rest.

    Raises:
        ValueError: the entries are others than were written.
    """
    plain = _plain(entries)
    found = entries.get(KEY) if KEY in entries else _last_checksum(plain)
    if found is not None and found != _checksum(plain):
        raise ValueError("its entries do not match its checksum: it was edited, or a bit of it has flipped")
    return plain


def _plain(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if name != KEY}


def _checksum(entries: Mapping[str, Any]) -> str:
    return f"{_KIND}{zlib.crc32(json.dumps(entries).encode()):08x}"


def _last_checksum(entries: Mapping[str, Any]) -> str | None:
    """Return a checksum under another name: the damage is in the name then."""
    last = list(entries.values())[-1] if entries else None
    return last if isinstance(last, str) and last.startswith(_KIND) else None

"""What a failing disk does to a file: a bit of it flips."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from qtrain.errors import UserError
from qtrain.records.files import write_json, write_json_lines


def flipped(content: bytes, bit: int) -> bytes:
    """Return ``content`` with one bit of it changed."""
    place, number = divmod(bit, 8)
    return content[:place] + bytes([content[place] ^ 1 << number]) + content[place + 1 :]


def some_bits(content: bytes, count: int, seed: int = 0) -> list[int]:
    """Return so many of all bits, at seeded places, the first and the last byte's among them."""
    bits = 8 * len(content)
    return sorted({0, bits - 1, *Random(seed).sample(range(bits), min(count, bits))})


def bit_of_each_byte(content: bytes, seed: int = 0) -> Iterator[int]:
    """Yield one bit of every byte."""
    random = Random(seed)
    for place in range(len(content)):
        yield 8 * place + random.randrange(8)


def outcome(read: Callable[[], Any]) -> Any:
    """Return what is read, or the error's line in a list."""
    try:
        return read()
    except UserError as error:
        return [str(error)]


def check_flips(path: Path, bits: list[int], read: Callable[[], Any], *names: str) -> int:
    """Flip each bit by itself: what is read is refused in one line that names the file, or it is what it was.

    Args:
        path: of the file.
        bits: to be flipped.
        read: reads the file, or the folder that it lies in.
        names: that a line may speak of instead of the file's, as where the damage is the file's own name for another.

    Returns:
        How many were refused.
    """
    whole = path.read_bytes()
    expected = read()
    refused = 0
    try:
        for bit in bits:
            path.write_bytes(flipped(whole, bit))
            found = outcome(read)
            if found == expected:
                continue
            assert isinstance(found, list), (path, bit, found)
            (line,) = found
            assert any(name in line for name in (path.name, *names)), (bit, line)
            assert "\n" not in line
            refused += 1
    finally:
        path.write_bytes(whole)
    return refused


def add_checksums(folder: Path) -> list[Path]:
    """Write every JSON file below a folder anew, with checksums; return them."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".jsonl"))
    for path in files:
        if path.suffix == ".json":
            write_json(path, json.loads(path.read_text()))
        else:
            write_json_lines(path, [json.loads(line) for line in path.read_text().splitlines()])
    return files

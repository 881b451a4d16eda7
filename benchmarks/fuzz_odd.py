"""What is put in the place of a value, a file or a tensor: everything that can stand there and does not belong."""

import os
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import torch

ODD: dict[str, Any] = {
    "null": None,
    "true": True,
    "a text": "x",
    "an empty text": "",
    "minus one": -1,
    "zero": 0,
    "a fraction": 0.5,
    "a large number": 10**30,
    "a huge number": 10**400,
    "NaN": float("nan"),
    "infinite": float("inf"),
    "a list": [],
    "a list of lists": [[1], ["x"]],
    "an object": {},
    "a nested object": {"a": {"b": [None]}},
    "a long text": "x" * 100_000,
    "an escape": "\x1b]0;title\x07\x1b[31m\n\r",
    "half a character": "\ud800",
    "no UTF-8": "\udcff",
    "a NUL": "a\0b",
    "a way out": "../../..",
    "two dots": "..",
    "markup": "<script>alert(1)</script>[red]{{x}}",
}
ODD_TEXTS: dict[str, bytes] = {
    "empty": b"",
    "a list": b"[1, 2]\n",
    "null": b"null\n",
    "NUL": b"\0" * 1000,
    "random": bytes(range(256)) * 4,
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "digits": b'{"format": ' + b"9" * 100_000 + b"}",
    "a long line": b'{"type": "' + b"x" * 30_000_000 + b'"}\n',
    "many lines": b'{"type": "run"}\n' * 200_000,
    "line breaks": b"\n" * 1_000_000,
    "latin": "naïve: é\n".encode("latin-1"),
}


def as_node(path: Path, random: Random) -> str:
    """Put something in the place of a file that is none, or that leads elsewhere; return what."""
    path.unlink()
    name = random.choice(tuple(_NODES))
    _NODES[name](path)
    return name


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the names of sockets are short
    try:
        with closing(socket.socket(socket.AF_UNIX)) as server, suppress(OSError):
            server.bind(path.name)
    finally:
        os.chdir(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


_NODES: dict[str, Callable[[Path], Any]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a socket": _socket,
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "/dev/random": lambda path: path.symlink_to("/dev/random"),
    "/dev/null": lambda path: path.symlink_to("/dev/null"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to a folder": lambda path: path.symlink_to("/"),
    "a sparse file of a TiB": _sparse,
    "nothing": lambda path: None,
}


def some_entry(values: Any, random: Random, deepest: float) -> tuple[str, Any, Any]:
    """Draw an entry somewhere in nested lists and mappings.

    Args:
        values: to be walked into.
        random: draws the way.
        deepest: chance to stop at each level.

    Returns:
        The way to it, empty where an empty container ends it; what holds the entry; and its key or number there.
    """
    way: list[str] = []
    while True:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        if not keys:
            return "", values, None
        key = random.choice(keys)
        way.append(str(key))
        inside = values[key]
        if not isinstance(inside, dict | list) or not inside or random.random() < deepest:
            return ".".join(way), values, key
        values = inside


def odd_state(state: Any, random: Random) -> str:
    """Change one entry somewhere in what ``torch.save`` wrote; return how."""
    way, container, key = some_entry(state, random, deepest=0.2)
    if not way:
        return "nothing"
    name = random.choice((*_TENSORS, *ODD, "without", "renamed", "itself"))
    value = container[key]
    if name == "without":
        del container[key]
    elif name == "renamed" and isinstance(container, dict):
        container["other"] = container.pop(key)
    elif name == "itself":
        container[key] = container
    elif name in _TENSORS:
        container[key] = _TENSORS[name](value if isinstance(value, torch.Tensor) else torch.ones(3, 4))
    elif name in ODD:
        container[key] = ODD[name]
    return f"{way[:80]} is {name}"


_TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "other numbers": lambda value: value.double(),
    "whole numbers": lambda value: value.to(torch.int64),
    "half": lambda value: value.half(),
    "complex": lambda value: value.to(torch.complex64),
    "not numbers": lambda value: torch.full_like(value.float(), float("nan")),
    "infinite numbers": lambda value: torch.full_like(value.float(), float("inf")),
    "no dimension": lambda value: torch.ones(()),
    "nothing in it": lambda value: torch.ones(0),
    "a dimension more": lambda value: value[None],
    "flat": lambda value: value.flatten(),
    "sparse": lambda value: value.float().to_sparse(),
    "of a pebibyte": lambda value: torch.ones(1).expand(1 << 48),
    "expanded": lambda value: torch.ones((), dtype=value.dtype).expand(value.shape),
    "meta": lambda value: value.to("meta"),
    "a list of tensors": lambda value: [value, value],
}

"""What tells one qtrain's code from another of the same version."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PARTS = ("models", "export")  # beside the package in a checkout, inside it where it is installed
_KINDS = (".py", ".yaml")


@cache
def code_digest() -> str:
    """Return 12 hexadecimal digits of qtrain's code and recipes here: for a checkout those of its wheel."""
    known = hashlib.sha256()
    for name, path in sorted(_files().items()):
        known.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return known.hexdigest()[:12]


def _files() -> dict[str, Path]:
    """Return the files by their names as they are in a wheel."""
    found = {}
    package = Path(__file__).parents[1]
    for path in package.rglob("*"):
        inside = path.relative_to(package)
        if path.suffix in _KINDS and inside.parts[0] not in _PARTS:
            found[inside.as_posix()] = path
    for part in _PARTS:
        for place in getattr(find_spec(f"qtrain.{part}"), "submodule_search_locations", None) or ():
            for path in Path(place).rglob("*"):
                if path.suffix in _KINDS:
                    found[f"{part}/{path.relative_to(place).as_posix()}"] = path
    return found

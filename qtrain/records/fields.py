"""JSON files that a person may have damaged: every look-up says what is wrong where."""

import json
import math
from pathlib import Path
from typing import Any

from qtrain.errors import UserError


class Fields:
    """A JSON object with the file it comes from."""

    def __init__(self, values: Any, origin: Path):
        if not isinstance(values, dict):
            raise damaged(origin, f"a JSON object is expected, not {values!r:.40}")
        self.values, self.origin = values, origin

    def get(self, key: str, kind: type | tuple[type, ...], what: str) -> Any:
        """The value of ``key``, which must be of ``kind``, in words ``what``."""
        value = self.values.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise damaged(self.origin, f"{key!r} must be {what}, but is {value!r:.40}")
        return value

    def number(self, key: str, finite: bool = True) -> float:
        """A number, as a float."""
        value = float(self.get(key, (int, float), "a number"))
        if finite and not math.isfinite(value):
            raise damaged(self.origin, f"{key!r} must be a finite number, but is {value}")
        return value

    def integer(self, key: str) -> int:
        """A whole number."""
        return int(self.get(key, int, "a whole number"))

    def text(self, key: str) -> str:
        """A text."""
        return str(self.get(key, str, "text"))

    def items(self, key: str) -> list[Any]:
        """A list."""
        return list(self.get(key, list, "a list"))

    def object(self, key: str) -> "Fields":
        """An object within."""
        return Fields(self.get(key, dict, "an object"), self.origin)


def damaged(path: Path, why: str) -> UserError:
    """The error for a file that holds something else than was written."""
    return UserError(f"{path} is damaged ({' '.join(why.split())}); run qtrain compare with its folder as --out again")


def read_text(path: Path, made_by: str) -> str:
    """A file's text; ``made_by`` is the command that should have written it."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist; name a folder that {made_by} has finished") from None
    except UnicodeDecodeError as error:
        raise damaged(path, str(error)) from None


def parse_json(text: str, path: Path) -> Fields:
    """The JSON object that ``path`` holds as ``text``."""
    try:
        return Fields(json.loads(text), path)
    except json.JSONDecodeError as error:
        raise damaged(path, str(error)) from None

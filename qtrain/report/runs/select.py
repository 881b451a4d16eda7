"""Which rows are shown, and in which order: a small grammar, and everything else is refused."""

import difflib
import fnmatch
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from qtrain.errors import UserError
from qtrain.report.runs.row import RunRow

TEXTS = ("folder", "network", "data", "scheduler", "state", "proof")
NUMBERS = ("seed", "done", "epochs", "best", "test", "lut", "fps", "seconds", "seconds_left", "changed")
COLUMNS = (*TEXTS, *NUMBERS)
_MOST_FIRST = ("best", "test", "fps", "done", "changed")  # more is better there, or newer
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CONDITION = re.compile(r"\s*([a-z_]+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*")
GRAMMAR = (
    "conditions are COLUMN OPERATOR VALUE with commas between, all of which must hold: = and != of text, where * "
    "stands for anything, and = != < <= > >= of numbers"
)


@dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes:
        column: that it asks about.
        sign: its operator.
        value: text with wildcards, or a number.
    """

    column: str
    sign: str
    value: str | float

    def holds(self, row: RunRow) -> bool:
        """Whether it does; of a number that is not known none does."""
        found = getattr(row, self.column)
        if isinstance(self.value, str):
            return fnmatch.fnmatchcase(found, self.value.replace("[", "[[]").replace("?", "[?]")) == (self.sign == "=")
        return found is not None and _OPERATORS[self.sign](found, self.value)


def parse_filter(text: str) -> tuple[Condition, ...]:
    """Read conditions such as ``scheduler=aslr*,best>=80``.

    Raises:
        UserError: something else.
    """
    return tuple(_condition(part) for part in text.split(","))


def _condition(text: str) -> Condition:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UserError(f"filter {text.strip()!r} is no condition such as best>=80; {GRAMMAR}")
    column, sign, value = found.groups()
    check_column(column, "filter")
    if column in TEXTS:
        if sign not in ("=", "!="):
            raise UserError(f"filter {text.strip()!r}: {column} is text, and has = and != alone; {GRAMMAR}")
        return Condition(column, sign, value)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"filter {text.strip()!r}: {column} is held against a number, but got {value!r}")
    return Condition(column, sign, number)


def check_column(name: str, option: str) -> None:
    """See that there is such a column.

    Raises:
        UserError: there is not.
    """
    if name not in COLUMNS:
        close = difflib.get_close_matches(name, COLUMNS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"{option} names no column {name!r}; columns are {', '.join(COLUMNS)}{hint}")


def kept(rows: Iterable[RunRow], conditions: Sequence[Condition]) -> list[RunRow]:
    """Return the rows that all conditions hold for."""
    return [row for row in rows if all(condition.holds(row) for condition in conditions)]


def in_order(rows: Iterable[RunRow], column: str | None, reverse: bool = False) -> list[RunRow]:
    """Return the rows by a column: the best, or the newest, first where there is a better; else from the least on.

    Rows of which it is not known come last, whichever way round. Without a column the order is that of the folders.
    """
    known: list[RunRow] = []
    unknown: list[RunRow] = []
    name = column or "folder"
    for row in rows:
        (unknown if getattr(row, name) in (None, "") else known).append(row)
    known.sort(key=_natural(name), reverse=(name in _MOST_FIRST) != reverse)
    return known + unknown


def _natural(name: str) -> Callable[[RunRow], Any]:
    """Return the key of a column; numbers within text count as numbers, so that seed10 comes behind seed9."""
    if name in NUMBERS:
        return lambda row: getattr(row, name)

    def key(row: RunRow) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", getattr(row, name))
        return [(0, int(part[:4000]), "") if part.isdecimal() else (1, 0, part) for part in parts]

    return key

"""Formats on disk as types: a frozen dataclass is a JSON object, and its annotations say what may stand in it.

A class that is a whole file derives from ``JsonFile`` and then writes and reads itself. What is read is held against
the annotations: ``int``, ``float`` (finite; ``AnyFloat`` where not), ``str``, ``bool``, ``Literal``, ``tuple[T, ...]``,
``Mapping[str, T]``, ``T | None``, ``Any`` and other dataclasses. A key that a file lacks takes the field's default,
which is how older files stay readable; keys that no field has are passed over. A checksum among the entries is checked
before any of them is used.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from qtrain.errors import UserError
from qtrain.records.checksum import without_checksum
from qtrain.records.files import write_json
from qtrain.records.plain_files import read_plain_text

T = TypeVar("T")
AnyFloat = Annotated[float, "finite or not"]
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_SHOWN = 40  # characters of a wrong value


@dataclass(frozen=True)
class Source:
    """Where a value stands, for the error where it is wrong.

    Attributes:
        path: the file.
        mend: what to do about a damaged one, as the end of a sentence.
        line: in a file of JSON lines, from 1.
    """

    path: Path
    mend: str
    line: int | None = None

    def damaged(self, why: str) -> UserError:
        """The error for a file that holds something else than was written."""
        where = "" if self.line is None else f"line {self.line}: "
        return UserError(f"{self.path} is damaged ({where}{' '.join(why.split())}); {self.mend}")

    def parse(self, text: str) -> dict[str, Any]:
        """Read a JSON object; its checksum, where it has one, is checked and left out.

        Raises:
            UserError: ``text`` is none, or is not what was written.
        """
        try:
            value = json.loads(text, object_pairs_hook=_once)
            if isinstance(value, dict):
                return without_checksum(value)
        except (ValueError, RecursionError) as error:  # no JSON, a number of thousands of digits, or too deep
            raise self.damaged(str(error)) from None
        raise self.damaged(f"a JSON object is expected, not {_short(value)}")

    def read_text(self, made_by: str) -> str:
        """Read the whole file.

        Args:
            made_by: the command that should have written it.

        Raises:
            UserError: it does not exist, or is no text.
        """
        try:
            return read_plain_text(self.path)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{self.path} does not exist; name a folder that {made_by} has finished") from None
        except UnicodeDecodeError as error:
            raise self.damaged(str(error)) from None

    def lines(self, made_by: str) -> Iterator[tuple["Source", str]]:
        """Yield each line of a file of JSON lines, with where it stands.

        Raises:
            UserError: as ``read_text``.
        """
        text = self.read_text(made_by).removesuffix("\n")
        for number, line in enumerate(text.split("\n") if text else (), 1):
            yield replace(self, line=number), line

    def whole_lines(self, text: str) -> list[dict[str, Any]]:
        """Read the lines of a file that grows; half a last one, which a kill leaves, is none.

        Raises:
            UserError: a line is no JSON object, or not what was written.
        """
        *lines, rest = text.split("\n")
        if _is_more_than_a_value(rest):  # a line whose end is damaged; a kill leaves less than a line
            lines.append(rest)
        return [replace(self, line=number).parse(line) for number, line in enumerate(lines, 1) if line.strip()]


class JsonFile:
    """A format that is one JSON file of a fixed name in a folder; a frozen dataclass derives from it.

    Attributes:
        FILE: its name.
        FORMAT: of the file, where it has one.
        MADE_BY: the command that writes it.
        MEND: what to do about a damaged one.
    """

    FILE: ClassVar[str]
    FORMAT: ClassVar[int | None] = None
    MADE_BY: ClassVar[str]
    MEND: ClassVar[str]

    @classmethod
    def source(cls, folder: Path) -> Source:
        """Where the file stands."""
        return Source(folder / cls.FILE, cls.MEND)

    @classmethod
    def is_in(cls, folder: Path) -> bool:
        """Whether ``folder`` holds such a file."""
        return (folder / cls.FILE).exists()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it from its folder.

        Raises:
            UserError: it does not exist, is damaged, or is of another format.
        """
        source = cls.source(folder)
        values = source.parse(source.read_text(cls.MADE_BY))
        found = values.get("format")
        if cls.FORMAT is not None and found != cls.FORMAT:
            raise UserError(f"{source.path} has format {_short(found)}, this qtrain reads {cls.FORMAT}; {cls.MEND}")
        return from_json(cls, values, source)

    def to_json(self) -> dict[str, Any]:
        """Return the plain values that the file holds."""
        version = {} if self.FORMAT is None else {"format": self.FORMAT}
        return version | to_json(self)

    def write(self, folder: Path) -> None:
        """Write it into its folder, whole or not at all."""
        write_json(folder / self.FILE, self.to_json())


def _is_more_than_a_value(text: str) -> bool:
    """Whether something stands behind a whole JSON value."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return end < len(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its entries.

    Raises:
        ValueError: one is there twice, and JSON does not say which counts.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{_short(twice)} is there twice")
    return found


def to_json(record: Any) -> dict[str, Any]:
    """Return a dataclass as the plain values that a JSON file holds."""
    plain: dict[str, Any] = _plain(record)
    return plain


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value


def from_json(kind: type[T], values: Any, source: Source, name: str = "") -> T:
    """Make a dataclass of a JSON object.

    Args:
        kind: the dataclass.
        values: what was read.
        source: where it stands.
        name: of the entry within the file; empty for the whole of it.

    Raises:
        UserError: an entry is missing, or is none that its annotation allows; names it.
    """
    if not isinstance(values, dict):
        what = f"{name!r} must be an object, but is" if name else "a JSON object is expected, not"
        raise source.damaged(f"{what} {_short(values)}")
    hints = _hints_of(kind)  # type: ignore[arg-type]  # every class has a hash
    found = {}
    for field in fields(kind):  # type: ignore[arg-type]
        place = f"{name}.{field.name}" if name else field.name
        if field.name in values:
            found[field.name] = _value(hints[field.name], values[field.name], source, place)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise source.damaged(f"{place!r} must be {_words(hints[field.name])}, but is missing")
    return kind(**found)


@cache
def _hints_of(kind: type) -> dict[str, Any]:
    """Return the annotations of a dataclass; looking them up takes longer than reading most records."""
    return get_type_hints(kind, include_extras=True)


def _value(hint: Any, value: Any, source: Source, name: str, said: Any = None) -> Any:
    """Return ``value`` as the annotation has it; where it is no such value, the error says ``said``."""
    kind = get_origin(hint) or hint
    arguments = get_args(hint)
    if kind is Any:
        return value
    if kind in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        return _value(_without_none(hint), value, source, name, said=hint)
    if kind is Annotated:
        kind = arguments[0]
    if is_dataclass(kind) and isinstance(value, dict):
        return from_json(kind, value, source, name)  # type: ignore[arg-type]
    if kind is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], each, source, f"{name}[{i}]") for i, each in enumerate(value))
    if _is_mapping(kind) and isinstance(value, dict):
        of = arguments[1] if arguments else Any
        return {key: _value(of, each, source, f"{name}.{key}") for key, each in value.items()}
    if kind is Literal and value in arguments:
        return value
    if kind is float and (is_finite(value) or (hint is AnyFloat and type(value) is float)):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    what = "a finite number" if type(value) is float and kind is float else _words(said or hint)
    raise source.damaged(f"{name!r} must be {what}, but is {_short(value)}")


def is_finite(value: Any) -> bool:
    """Whether it is a number that a float holds."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _words(hint: Any) -> str:
    """Say what an annotation allows."""
    kind = get_origin(hint) or hint
    arguments = get_args(hint)
    if kind in (Union, UnionType):
        return f"{_words(_without_none(hint))} or null"
    if kind is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if kind is tuple:
        return "a list"
    if _is_mapping(kind) or is_dataclass(kind):
        return "an object"
    return "a number" if kind is Annotated else _WORDS.get(kind, "given")


def _without_none(hint: Any) -> Any:
    """Return the other half of ``T | None``, the only union that formats use."""
    (other,) = (argument for argument in get_args(hint) if argument is not NoneType)
    return other


def _is_mapping(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Mapping)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."

"""YAML of anybody's, as plain values: what two versions of YAML read differently is refused, with what to write.

YAML 1.1, which most libraries read, takes 010 for 8, 1:30 for 90 and no for false; YAML 1.2 takes them for 10 and for
texts. People mean the one or the other. Nothing here is read that needs a guess: no such scalars, no name twice, no
tags, no anchors and aliases (a value inside itself, or a few lines that stand for gigabytes). Of ``1e-3``, a text in
YAML 1.1, nobody means a text: it is a number.

The text is read event by event, never by recursion, and what is too large is refused before it is built.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from qtrain.records.plain_files import read_plain

MOST = 64 << 10  # bytes of a file; a recipe with all its fields has 1,200
DEEPEST = 20  # levels of lists and mappings
_DIGITS = 40  # of a whole number
_SHOWN = 40  # characters of a value

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
# What two versions read differently.
_OLD_BOOL = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")
_ZEROS = re.compile(r"[-+]?0[0-9]+")
_OCTAL = re.compile(r"[-+]?0o[0-7_]+")
_BINARY = re.compile(r"[-+]?0b[01_]+")
_SIGNED_HEX = re.compile(r"[-+]?0x[0-9a-fA-F_]+")
_UNDERSCORES = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")


class YamlError(ValueError):
    """Why a text is not read; the text it stands in is for the caller to name.

    Attributes:
        line: from 1, of what is refused; None where the whole is no YAML.
    """

    def __init__(self, why: str, line: int | None = None):
        super().__init__(why if line is None else f"line {line}: {why}")
        self.line = line


def load_yaml(path: Path) -> Any:
    """Read a YAML file.

    Returns:
        None, bool, int, float, str, or lists and mappings of them, whose keys are texts; None for an empty file.

    Raises:
        YamlError: it is no YAML, or holds what is not read.
        UserError: it is no plain file, or too large for one.
        OSError: it cannot be read.
    """
    content = read_plain(path, MOST)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise YamlError(f"it is no text in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    return parse_yaml(text)


def parse_yaml(text: str) -> Any:
    """Read YAML, as ``load_yaml`` does a file's.

    Raises:
        YamlError: as ``load_yaml``.
    """
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            reader.take(event)
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split())) from None
    return reader.value


def dump_yaml(value: Any, *, letters_too: bool = False) -> str:
    """Write plain values as YAML that every version, and ``parse_yaml``, reads back as they are.

    Args:
        value: as ``load_yaml`` returns it, or with tuples.
        letters_too: write letters beyond ASCII as they are instead of escapes.
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=letters_too)


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice twice, and quotes each text that somebody reads as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def write_text(self, text: str) -> yaml.ScalarNode:
        try:
            is_clear = _plain(text, 0) == text
        except YamlError:
            is_clear = False
        if not text.isprintable():  # a letter that ends lines is one only in double quotes
            return self.represent_scalar("tag:yaml.org,2002:str", text, style='"')
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_clear else "'")


_Dumper.add_representer(str, _Dumper.write_text)


@dataclass
class _Open:
    """A list or mapping whose end has not come yet.

    Attributes:
        values: its own.
        lines: of a mapping's keys, by their names.
        key: that waits for its value; None between two entries.
    """

    values: list[Any] | dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)
    key: str | None = None


class _Reader:
    """Builds the value of a document of its events.

    Attributes:
        value: of the document.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self._open: list[_Open] = []
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Take the next event.

        Raises:
            YamlError: it is of what is not read.
        """
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise YamlError("a second document begins; leave the line --- out", line)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise YamlError("anchors and aliases (&name, *name) are not read; write the value out", line)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise YamlError(f"the tag {_short(tag)} in line {line} is not read; write the value without it")
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._begin(_Open([]), line)
        elif isinstance(event, yaml.MappingStartEvent):
            self._begin(_Open({}), line)
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            self._add(self._open.pop().values, line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        if "\0" in event.value:
            raise YamlError("a text holds the character NUL, which no name has; take it out", line)
        self._add(_plain(event.value, line) if event.implicit[0] else event.value, line)

    def _begin(self, opened: _Open, line: int) -> None:
        if len(self._open) == DEEPEST:
            raise YamlError(f"lists and mappings are nested deeper than {DEEPEST}", line)
        self._open.append(opened)

    def _add(self, value: Any, line: int) -> None:
        """Put a value where it belongs: into what is open, or as the whole."""
        if not self._open:
            self.value = value
            return
        inside = self._open[-1]
        if isinstance(inside.values, list):
            inside.values.append(value)
        elif inside.key is not None:
            inside.values[inside.key] = value
            inside.key = None
        elif not isinstance(value, str):
            raise YamlError(f"a name is needed before the colon, not {_short(repr(value))}; put it in quotes", line)
        elif value in inside.lines:
            first = inside.lines[value]
            raise YamlError(f"{_short(value)} is there twice, in line {first} too; leave one of them out", line)
        else:
            inside.key = value
            inside.lines[value] = line


def _plain(text: str, line: int) -> Any:
    """Return what a scalar without quotes means.

    Raises:
        YamlError: it means two things, or is a number that is none here.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text in ("<<", "="):
        raise YamlError(f"{text} is not read; write the values out, or {text!r} in quotes for a text", line)
    for form, meaning in _TWO_MEANINGS:
        if form.fullmatch(text):
            wrong, write = meaning(text)
            instead = f"{_short(write)}, or " if write else ""
            raise YamlError(f"{_short(text)} {wrong}; write {instead}{_short(repr(text))} in quotes for a text", line)
    if _WHOLE.fullmatch(text) or _HEX.fullmatch(text):
        if len(text) > _DIGITS:
            raise YamlError(f"a number has {len(text)} digits; {_DIGITS} are allowed", line)
        return int(text, 0)
    if _INFINITE.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    return _float(text, line) if _FLOAT.fullmatch(text) else text


def _float(text: str, line: int) -> float:
    value = float(text)
    if math.isinf(value):
        raise YamlError(f"{_short(text)} is too large for a number", line)
    if value == 0 and re.match(r"[-+0.]*[1-9]", text):
        raise YamlError(f"{_short(text)} is too small for a number; write 0", line)
    return value


_Meaning = tuple[
    str, str
]  # what is wrong with a scalar, and what to write in its place; nothing where only a text is left
_NUMBER_OR_TEXT = "is a number in YAML 1.1 and a text in 1.2"
_TEXT_OR_NUMBER = "is a text in YAML 1.1 and a number in 1.2"


def _of_bool(text: str) -> _Meaning:
    meant = "true" if text.lower() in ("yes", "on") else "false"
    return f"is {meant} in YAML 1.1 and a text in 1.2", meant


def _of_zeros(text: str) -> _Meaning:
    digits = text.lstrip("+-")
    sign = "-" if text.startswith("-") else ""
    whole = sign + (digits.lstrip("0") or "0")
    if len(digits) > _DIGITS or set(digits) & set("89"):
        return _TEXT_OR_NUMBER, whole
    octal = f"{sign}{int(digits, 8)}"
    if octal == whole:
        return "begins with a zero that means nothing", whole
    return f"is {octal} in YAML 1.1 and {whole} in 1.2", f"{whole} or {octal}"


def _of_octal(text: str) -> _Meaning:
    return _TEXT_OR_NUMBER, _in_decimal(text)


def _of_base(text: str) -> _Meaning:
    return _NUMBER_OR_TEXT, _in_decimal(text)


def _in_decimal(text: str) -> str:
    """Return a number of another base in decimal digits; nothing where that is no number, or too long."""
    digits = text.replace("_", "")
    try:
        return str(int(digits, 0)) if len(digits) <= _DIGITS else ""
    except ValueError:  # underscores alone
        return ""


def _of_underscores(text: str) -> _Meaning:
    return _NUMBER_OR_TEXT, text.replace("_", "")


def _of_sexagesimal(text: str) -> _Meaning:
    sign = "-" if text.startswith("-") else ""
    whole, dot, fraction = text.lstrip("+-").replace("_", "").partition(".")
    if len(whole) > _DIGITS:
        return _NUMBER_OR_TEXT, ""
    value = 0
    for part in whole.split(":"):
        value = value * 60 + int(part)
    number = f"{sign}{value}{dot}{fraction}".removesuffix(".")
    return f"is {number} in YAML 1.1 and a text in 1.2", number


def _of_date(text: str) -> _Meaning:
    return "is a date in YAML 1.1 and a text in 1.2", ""


def _of_nan(text: str) -> _Meaning:
    return "is no number", "one"


_TWO_MEANINGS: tuple[tuple[re.Pattern[str], Callable[[str], _Meaning]], ...] = (
    (_OLD_BOOL, _of_bool),
    (_ZEROS, _of_zeros),
    (_OCTAL, _of_octal),
    (_BINARY, _of_base),
    (re.compile(f"(?!{_HEX.pattern}$){_SIGNED_HEX.pattern}"), _of_base),
    (re.compile(f"(?=.*_){_UNDERSCORES.pattern}"), _of_underscores),
    (_SEXAGESIMAL, _of_sexagesimal),
    (_DATE, _of_date),
    (_NAN, _of_nan),
)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."

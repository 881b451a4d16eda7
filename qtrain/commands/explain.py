"""What is wrong with the words of a command line, in a user's terms: looked at only where they cannot be parsed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from qtrain.commands.words import dashed, in_brackets
from qtrain.errors import UserError, closest, did_you_mean
from qtrain.records.plain_yaml import YamlError, load_yaml, parse_yaml

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", tuple: "a list such as 0.5,0.75"}
HELP = "qtrain COMMAND --help lists what there is"


def explain(
    words: Sequence[str],
    kinds: Mapping[str, Any],
    switches: Collection[str],
    positional: Sequence[str],
    fields: Collection[str],
    many: bool = False,
) -> str:
    """Say what is wrong with the first word that is.

    Args:
        words: behind the command, normalised.
        kinds: what each option and positional argument takes, by its name.
        switches: options that take nothing.
        positional: names of the arguments without an option, in order.
        fields: of a recipe, which ``--config`` may hold.
        many: whether the last of the positional arguments may be given several times.

    Returns:
        Nothing where no fault is found.
    """
    waiting = list(positional)
    for name, value in arguments(words, switches):
        if name is None:
            if not waiting:
                return f"unrecognized arguments: {value}; {HELP}"
            name = waiting[0] if many and len(waiting) == 1 else waiting.pop(0)
        if problem := _problem(name, value, kinds, switches, fields):
            return problem
    return ""


def _problem(
    name: str, value: str | None, kinds: Mapping[str, Any], switches: Collection[str], fields: Collection[str]
) -> str:
    """Say what is wrong with one argument, nothing where it is right."""
    if name not in kinds and name not in switches:
        unknown = f"--{name} {value or ''}".strip()
        close = closest(name, [*kinds, *switches])
        hint = f"did you mean --{close}? " if close else ""
        return dashed(f"unrecognized arguments: {unknown}; {hint}{HELP}")
    if name in switches or value is None:
        return ""
    if name == "config":
        return _config_problem(Path(value), kinds, fields)
    return _value_problem(name, kinds[name], value)


def arguments(words: Sequence[str], switches: Collection[str]) -> Iterator[tuple[str | None, str | None]]:
    """Yield each option with its value, None where it has none, and each other word with None for the option."""
    takes = None
    for word, following in pairwise([*words, "--"]):
        name, equals, value = word.partition("=")
        if takes is not None:
            yield takes, word
            takes = None
        elif not name.startswith("--"):
            yield None, word
        elif equals:
            yield name[2:], value
        elif name[2:] in switches or following.startswith("--"):
            yield name[2:], None
        else:
            takes = name[2:]


def _config_problem(path: Path, kinds: Mapping[str, Any], fields: Collection[str]) -> str:
    """Say why a file is no recipe in YAML."""
    try:
        values = config_values(path)
    except UserError as error:
        return str(error)
    for name, value in values.items():
        if name not in fields and name not in kinds:
            close = closest(name, fields)
            hint = f"did you mean {close}? " if close else ""
            return f"--config has no field {name}; {hint}fields are {', '.join(fields)}"
        if problem := _value_problem(name, kinds[name], value):
            return f"{problem} in {path}"
    return ""


def config_values(path: Path) -> dict[str, Any]:
    """Return the values that ``--config`` holds, by names.

    Raises:
        UserError: it is no such file; says what it is.
    """
    if path.is_dir():
        raise UserError(f"--config must name a YAML file: {str(path)!r} is a folder")
    try:
        values = load_yaml(path)
    except FileNotFoundError:
        raise UserError(f"--config must name a YAML file: {str(path)!r} is not there") from None
    except YamlError as error:
        where = f"{path}, " if error.line else ""
        raise UserError(f"--config must map names to values in YAML; it does not: {where}{error}") from None
    except OSError as error:
        raise UserError(f"--config must name a YAML file: {str(path)!r} cannot be read ({error.strerror})") from None
    except UserError as error:
        raise UserError(f"--config must name a YAML file: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"--config must map names to values in YAML; {path} holds {str(values)[:40]!r}")
    return values


def _value_problem(name: str, kind: Any, value: Any) -> str:
    """Say what an option may be, where ``value`` is something else."""
    if isinstance(value, str) and (why := unread(kind, value)):
        return f"{name} cannot be read: {why}"
    if _fits(kind, value):
        return ""
    return f"{name} must be {allowed(kind)}, but got {value!r}{did_you_mean(value, choices_of(kind))}"


def unread(kind: Any, value: str) -> str:
    """Say why a text is no value of a kind, for a reason that it shares with recipes; nothing where there is none.

    Args:
        kind: that an option takes.
        value: as it was given.
    """
    is_union = get_origin(kind) in (Union, UnionType)
    if kind is str or (is_union and str in get_args(kind)):
        return ""
    try:
        parse_yaml(value)
    except YamlError as error:
        return str(error).partition(": ")[2] if error.line else ""
    return ""


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value, text or from YAML, can be of a kind; generous where only the parser knows."""
    origin = get_origin(kind) or kind
    if origin in (Union, UnionType):
        return any(_fits(part, value) for part in get_args(kind))
    if origin is Literal:
        return str(value) in map(str, get_args(kind))
    if origin is NoneType:
        return value in (None, "null")
    if origin in (int, float):
        return _is_number(origin, value)
    if origin is tuple:
        return _fits_list(kind, value)
    read = _read_yaml(value)
    if origin is bool:
        return isinstance(read, bool)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(read, dict)
    return True


def _fits_list(kind: Any, value: Any) -> bool:
    """Whether a value can be a tuple of this kind, which has one kind of entries."""
    read = _read_yaml(in_brackets(value) if isinstance(value, str) else value)
    return isinstance(read, list) and all(_fits(get_args(kind)[0], entry) for entry in read)


def _is_number(kind: type, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        kind(value)
    except (TypeError, ValueError):
        return False
    return not (kind is int and isinstance(value, float))


def _read_yaml(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_yaml(value)
    except YamlError:
        return value


def allowed(kind: Any) -> str:
    """Say a kind in words; ``int | None`` is an int that may be left out."""
    if get_origin(kind) is Literal:
        values = list(map(str, get_args(kind)))
        return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
    if get_origin(kind) in (Union, UnionType):
        words = [_part(part) for part in get_args(kind) if part is not NoneType]
        return " or ".join(words)
    return _WORDS.get(get_origin(kind) or kind, "text")


def choices_of(kind: Any) -> tuple[str, ...]:
    """Return the names that a kind is one of; none where it takes anything."""
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return tuple(name for part in get_args(kind) for name in choices_of(part))
    return ()


def _part(kind: Any) -> str:
    """Say one part of a union; of a choice between two its values alone."""
    choices = choices_of(kind)
    return " or ".join(choices) if 0 < len(choices) < 3 else allowed(kind)

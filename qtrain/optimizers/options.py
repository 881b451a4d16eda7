"""Options that a user names in a recipe, checked against the signature of what takes them."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from qtrain.errors import UserError, did_you_mean


def options_of(kind: Callable[..., Any], without: Collection[str] = ()) -> dict[str, Any]:
    """Arguments of a class or function that have defaults, with these, except for those in ``without``."""
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in without}


def takes_any_option(kind: Callable[..., Any]) -> bool:
    """Whether it has ``**options``, so that its signature does not say which there are."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(kind).parameters.values())


def checked_options(
    scheduler: str, known: Mapping[str, Any], options: Mapping[str, Any], whole: Collection[str] = ()
) -> dict[str, Any]:
    """The options, each one known and of its default's type.

    Args:
        scheduler: whose they are, for the errors.
        known: names with their defaults; a default of None stands for a number that may be left out.
        options: what the user gave; lists, which YAML has for tuples, become tuples.
        whole: names of options that must be whole numbers, no less than their default.

    Raises:
        UserError: an unknown name, or a value of another type.
    """
    for name, value in options.items():
        if name not in known:
            have = f"it has {', '.join(known)}" if known else "it has none"
            raise UserError(f"scheduler {scheduler} has no option {name}; {have}{did_you_mean(name, known)}")
        if what := _expected(known[name], value, name in whole):
            raise UserError(f"{scheduler}'s option {name} must be {what}, but got {value!r}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def _expected(default: Any, value: Any, whole: bool) -> str:
    """What ``value`` should be, or nothing where it is."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "text"
    if isinstance(default, tuple):
        same = isinstance(value, Sequence) and len(value) == len(default) and all(map(_is_number, value))
        return "" if same else f"a list of {len(default)} numbers"
    if whole:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= default
        return "" if good else "a whole number"
    return "" if _is_number(value) or (default is None and value is None) else "a number"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

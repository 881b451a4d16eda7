"""Checks of a recipe's fields: each says what was given and what is allowed."""

import math
from collections.abc import Callable

from qtrain.errors import UserError, did_you_mean
from qtrain.records.plain_yaml import DEEPEST

MOST = 10**9  # of what is counted: beyond it 64 bits are too few for products of it
LONGEST = 450  # characters of a wrong value


def is_number(value: object) -> bool:
    """Whether it is one; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_factor(value: object) -> bool:
    """Whether it is above 0, at most 1."""
    return is_number(value) and 0 < value <= 1  # type: ignore[operator]


def check_whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """See that a field is a whole number in a range.

    Raises:
        UserError: it is not.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    most = MOST if high is None else high
    is_larger = is_whole and value > most  # type: ignore[operator]
    range_ = f"{low} or more" if high is None and not is_larger else f"{low} to {most}"
    good = is_whole and low <= value <= most  # type: ignore[operator]
    check(name, value, good, f"a whole number, {range_}")


def check(name: str, value: object, good: bool, allowed: str) -> None:
    """See that a field is good.

    Args:
        name: of the field.
        value: that was given.
        good: whether it is.
        allowed: what is, in words.

    Raises:
        UserError: it is not.
    """
    if not good:
        raise UserError(f"{name} must be {allowed}, but got {short(value)}")


def short(value: object) -> str:
    """Show a value that may be anything and of any length."""
    return cut(value, repr)


def cut(value: object, show: Callable[[object], str] = str) -> str:
    """Show a value, its beginning where it is long."""
    try:
        text = show(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, a list inside itself
        return f"a {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def is_plain(value: object, deepest: int = DEEPEST) -> bool:
    """Whether YAML and JSON hold a value as it is."""
    if isinstance(value, float):
        return not math.isnan(value)  # which is not even equal to itself
    if isinstance(value, list | tuple):
        return deepest > 0 and all(is_plain(entry, deepest - 1) for entry in value)
    return value is None or isinstance(value, str | int) or (isinstance(value, dict) and are_named(value, deepest))


def are_named(values: object, deepest: int = DEEPEST) -> bool:
    """Whether these are plain values by names."""
    if not isinstance(values, dict) or deepest <= 0:
        return False
    return all(isinstance(name, str) and is_plain(value, deepest - 1) for name, value in values.items())


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """See that a field is one of several words.

    Raises:
        UserError: it is not.
    """
    if not (isinstance(value, str) and value in allowed):
        hint = did_you_mean(value, allowed)
        raise UserError(f"{name} must be one of {', '.join(allowed)}, but got {short(value)}{hint}")

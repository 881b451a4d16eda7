"""A parser of one command: options in full, and what is wrong with what was given in a user's words."""

import re
from typing import Any, Literal, NoReturn, get_args, get_origin

from jsonargparse import ArgumentParser

from qtrain.commands.words import dashed
from qtrain.errors import UserError
from qtrain.recipe import Recipe

_IN_WORDS = {int: "a whole number", float: "a number", bool: "true or false", tuple: "a list such as [0.5,0.75]"}


class Parser(ArgumentParser):
    """Options are written with dashes and in full; an error is one line in a user's words."""

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """The help, options with dashes."""
        return dashed(super().format_help(*args, **kwargs))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a UserError instead of leaving the program."""
        types = {action.dest: kind for action in self._actions if (kind := getattr(action, "_typehint", None))}
        raise UserError(_plain(" ".join(str(message).split()), types))


def _allowed(kind: Any) -> str:
    """A type in words; ``int | None`` is an int that may be left out."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    parts = [kind] if get_origin(kind) is tuple else get_args(kind) or [kind]
    words = [_IN_WORDS.get(get_origin(part) or part, "") for part in parts]
    words += [str(value) for part in parts if get_origin(part) is Literal for value in get_args(part)]
    return " or ".join(filter(None, words)) or "text"


def _plain(message: str, types: dict[str, Any]) -> str:
    """What jsonargparse says, without its internals."""
    if match := re.match(r'Parser key "(\w+)": .*(?:Got|Given) value: ?(.*)', message):
        name, value = match.groups()
        if name in types:
            return f"{name} must be {_allowed(types[name])}, but got {value!r}"
    if match := re.match(r'Parser key "config": (.*)', message):
        return f"--config must name a YAML file: {match[1]}"
    if match := re.match(r"Subcommand '[\w-]+' does not accept option '(.*)'", message):
        return f"--config has no field {match[1]}; fields are {', '.join(Recipe.__dataclass_fields__)}"
    if match := re.match(r"(?:Problems parsing|Unexpected) config:(.*)", message):
        return f"--config must map names to values in YAML; it does not:{match[1]}"
    if message.startswith("unrecognized arguments"):
        return f"{dashed(message)}; qtrain COMMAND --help lists what there is"
    return dashed(message)

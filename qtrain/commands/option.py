"""An option of a command, as the parser, the help, the documentation and the shell's completion know it."""

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

# What an option may be given, for the shell: names of a registry, or a path.
Completes = Literal["", "network", "family", "data", "scheduler", "board", "file", "folder"]

_WORDS = {int: "N", float: "X", str: "TEXT", bool: "true|false", dict: "{name: value}", tuple: "X,X"}


@dataclass(frozen=True)
class Option:
    """An option or positional argument of a command.

    Attributes:
        name: with underscores; positional ones without dashes, others with.
        kind: what it takes; None for a switch.
        default: where it is not given.
        help: what it is, for a person.
        recipe: whether it is a field of a recipe.
        optional: whether a positional one may be left out.
        rare: whether ``--help`` leaves it to ``--help-all``.
        listed: whether its text is a list, which may be written in brackets.
        takes: the word for its value, as in ``FOLDER``; empty for that of its kind.
        completes: what the shell offers for it beside the choices of its kind.
        many: whether a positional one may be given several times.
    """

    name: str
    kind: Any
    default: Any
    help: str
    recipe: bool = False
    optional: bool = False
    rare: bool = False
    listed: bool = False
    takes: str = ""
    completes: Completes = ""
    many: bool = False

    @property
    def key(self) -> str:
        """Its name in a namespace."""
        return self.name.lstrip("-")

    @property
    def is_positional(self) -> bool:
        """Whether it has no name on the command line."""
        return not self.name.startswith("-")

    @property
    def shown(self) -> str:
        """The option with the word for its value, as help has it: ``--epochs N``, ``--[no-]augment``."""
        dashes = self.name.replace("_", "-")
        if self.is_positional:
            return self.key.upper()
        if self.kind is None:
            return dashes
        if self.kind is bool:
            return f"--[no-]{dashes[2:]}"
        return f"{dashes} {self.takes or kind_word(self.kind)}"


def kind_word(kind: Any) -> str:
    """Return the word for a value of a kind: ``N``, ``{sgd,nag,adam}``, ``X|auto``."""
    origin = get_origin(kind) or kind
    if origin is Literal:
        choices = get_args(kind)
        return f"{{{','.join(map(str, choices))}}}" if len(choices) > 1 else str(choices[0])
    if origin in (Union, UnionType):
        words = [kind_word(part) for part in get_args(kind) if part is not NoneType]
        return "|".join(dict.fromkeys(words))
    return _WORDS.get(origin, "TEXT")

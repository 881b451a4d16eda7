"""A parser of one command: options in full, and what is wrong with what was given in a user's words."""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, NoReturn, get_type_hints

import docstring_parser
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from qtrain.commands.explain import HELP, explain
from qtrain.commands.words import dashed
from qtrain.errors import UserError
from qtrain.recipe import Recipe
from qtrain.schedulers.catalogue import SCHEDULERS

_SWITCHES = ("store_true", "version")


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
        many: whether a positional one may be given several times.
    """

    name: str
    kind: Any
    default: Any
    help: str
    recipe: bool = False
    optional: bool = False
    many: bool = False

    @property
    def key(self) -> str:
        """Its name in a namespace."""
        return self.name.lstrip("-")


class Parser(ArgumentParser):
    """Options are written with dashes and in full; an error is one line in a user's words.

    Attributes:
        options: what was added, in order.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)
        self.options: list[Option] = []
        self._words: Sequence[str] = ()

    def add(self, name: str, *, recipe: bool = False, help: str, **how: Any) -> None:
        """Add an option or positional argument, and note it.

        Args:
            name: with dashes in front for an option, underscores within.
            recipe: whether it is a field of a recipe.
            help: what it is, for a person.
            how: type, default, nargs and action, as ``add_argument`` has them.
        """
        kind = None if how.get("action") in _SWITCHES else how.get("type", str)
        times = how.get("nargs")
        option = Option(name, kind, how.get("default"), help, recipe, optional=times in ("?", "*"), many=times == "*")
        self.options.append(option)
        self.add_argument(name, help=help, **how)

    def add_recipe(self) -> None:
        """Add a recipe as YAML, and each of its fields but the network."""
        self.add("--config", action=ActionConfigFile, help="recipe as YAML; what else is given here wins")
        self.options.append(Option("--print_config", None, None, "print what would be done as YAML, and do nothing"))
        attributes = docstring_parser.parse(Recipe.__doc__ or "").params
        about = {entry.arg_name: entry.description or "" for entry in attributes}
        about["scheduler"] += f" One of {', '.join(SCHEDULERS.built_in)}, or an installed package's."
        kinds = get_type_hints(Recipe)
        for field in fields(Recipe):
            if field.name == "network":
                continue
            default = field.default if field.default_factory is MISSING else field.default_factory()
            self.add(f"--{field.name}", type=kinds[field.name], default=default, help=about[field.name], recipe=True)

    def parse(self, words: Sequence[str]) -> Namespace:
        """Parse the words behind the command, defaults included.

        Raises:
            UserError: something is wrong with them.
        """
        self._words = words
        return self.parse_args(words)

    def given(self, words: Sequence[str]) -> Namespace:
        """Parse the words behind the command; what they do not give, in an option or in ``--config``, is absent.

        Raises:
            UserError: something is wrong with them.
        """
        self._words = words
        return self.parse_args(words, defaults=False)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """Return the help, options with dashes."""
        return dashed(super().format_help(*args, **kwargs))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a UserError instead of leaving the program."""
        kinds = {option.key: option.kind for option in self.options if option.kind is not None}
        switches = {option.key for option in self.options if option.kind is None} | {"help"}
        positional = [option.key for option in self.options if not option.name.startswith("-")]
        many = any(option.many for option in self.options)
        why = explain(self._words, kinds, switches, positional, [field.name for field in fields(Recipe)], many)
        raise UserError(why or f"{dashed(' '.join(str(message).split()))}; {HELP}")

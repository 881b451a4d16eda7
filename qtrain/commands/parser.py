"""A parser of one command: options in full, and what is wrong with what was given in a user's words."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

import docstring_parser
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace, set_dumper, set_loader

from qtrain.commands.explain import HELP, arguments, config_values, explain, unread
from qtrain.commands.help import CommandHelp
from qtrain.commands.option import Completes, Option
from qtrain.commands.words import dashed, respelled
from qtrain.data.catalogue import DATASETS
from qtrain.errors import UserError
from qtrain.recipe import Recipe
from qtrain.records.plain_yaml import YamlError, dump_yaml, parse_yaml
from qtrain.schedulers.catalogue import SCHEDULERS

_SWITCHES = ("store_true", "version")
_MODE = "qtrain"  # how jsonargparse reads values: as recipes are read
# Fields of a recipe that most runs need; ``--help-all`` has the others.
_COMMON = ("data", "epochs", "batch_size", "lr", "scheduler", "seed", "width", "bits", "init_from")
_LISTED = ("bits", "augmentation")  # fields whose text is a list
_TAKES = {"data": "NAME", "scheduler": "NAME", "init_from": "RUN", "bits": "BITS", "layout": "NCHW"}
_COMPLETES: dict[str, Completes] = {"data": "data", "scheduler": "scheduler", "init_from": "folder"}


def _value_of(text: str) -> Any:
    """Read a value or a whole ``--config``; jsonargparse takes ``name:`` for a text, as its own reader does."""
    value = parse_yaml(text)
    is_bare = (
        isinstance(value, dict)
        and value
        and all(entry is None for entry in value.values())
        and "\n" not in text.strip()
    )
    return text if is_bare else value


set_loader(_MODE, _value_of, exceptions=(YamlError,))
set_dumper(_MODE, partial(dump_yaml, letters_too=True))


class Parser(ArgumentParser):
    """Options are written with dashes and in full; an error is one line in a user's words.

    Attributes:
        options: what was added, in order.
        examples: whole command lines, for the end of the help.
    """

    def __init__(self, *, examples: Sequence[str] = (), **kwargs: Any):
        super().__init__(allow_abbrev=False, parser_mode=_MODE, **kwargs)
        self.examples = examples
        self.options: list[Option] = []
        self._words: Sequence[str] = ()

    def add(
        self,
        name: str,
        *,
        recipe: bool = False,
        help: str,
        rare: bool = False,
        listed: bool = False,
        takes: str = "",
        completes: Completes = "",
        **how: Any,
    ) -> None:
        """Add an option or positional argument, and note it.

        Args:
            name: with dashes in front for an option, underscores within.
            recipe: whether it is a field of a recipe.
            help: what it is, for a person.
            rare: whether ``--help`` leaves it to ``--help-all``.
            listed: whether its text is a list, which may be written in brackets.
            takes: the word for its value; by default that of its type.
            completes: what the shell offers for its value, beside the choices of its type.
            how: type, default, nargs and action, as ``add_argument`` has them.
        """
        kind = None if how.get("action") in _SWITCHES else how.get("type", str)
        times = how.get("nargs")
        optional, many = times in ("?", "*"), times == "*"
        self.options.append(
            Option(name, kind, how.get("default"), help, recipe, optional, rare, listed, takes, completes, many)
        )
        self.add_argument(name, help=help, **how)

    def add_recipe(self) -> None:
        """Add a recipe as YAML, and each of its fields but the network."""
        wins = "recipe as YAML; what else is given here wins"
        self.add("--config", action=ActionConfigFile, help=wins, takes="FILE", completes="file")
        self.options.append(Option("--print_config", None, None, "print what would be done as YAML, and do nothing"))
        attributes = docstring_parser.parse(Recipe.__doc__ or "").params
        about = {entry.arg_name: entry.description or "" for entry in attributes}
        about["data"] = (
            f"one of {', '.join(DATASETS.built_in)}, or an installed package's; or data of your own: a folder of "
            "images, an .npz file, or my_module:load."
        )
        about["scheduler"] += f" One of {', '.join(SCHEDULERS.built_in)}, or an installed package's."
        kinds = get_type_hints(Recipe)
        for field in fields(Recipe):
            if field.name == "network":
                continue
            default = field.default if field.default_factory is MISSING else field.default_factory()
            self.add(
                f"--{field.name}",
                type=kinds[field.name],
                default=default,
                help=about[field.name],
                recipe=True,
                rare=field.name not in _COMMON,
                listed=field.name in _LISTED,
                takes=_TAKES.get(field.name, ""),
                completes=_COMPLETES.get(field.name, ""),
            )

    def parse(self, words: Sequence[str]) -> Namespace:
        """Parse the words behind the command, defaults included.

        Raises:
            UserError: something is wrong with them.
        """
        self._see(words)
        return self.parse_args(self._respelled(words))

    def given(self, words: Sequence[str]) -> Namespace:
        """Parse the words behind the command; what they do not give, in an option or in ``--config``, is absent.

        Raises:
            UserError: something is wrong with them.
        """
        self._see(words)
        return self.parse_args(self._respelled(words), defaults=False)

    def _see(self, words: Sequence[str]) -> None:
        """Note what is parsed, and see that files and values in it can be read.

        jsonargparse would wait for a pipe, and reads numbers by rules of its own.
        """
        self._words = words
        kinds = {option.key: option.kind for option in self.options}
        switches = {name for name, kind in kinds.items() if kind is None}
        for name, value in arguments(self._respelled(words), switches):
            if name == "config" and value is not None:
                config_values(Path(value))
            elif name in kinds and value is not None and (why := unread(kinds[name], value)):
                raise UserError(f"{name} cannot be read: {why}")

    def _respelled(self, words: Sequence[str]) -> list[str]:
        """Write every list as its option needs it: ``0.5,0.75`` and ``[0.5,0.75]`` are the same everywhere."""
        kinds = {option.key: option.kind for option in self.options}
        listed = {option.key for option in self.options if option.listed}
        positional = any(option.is_positional and option.listed for option in self.options)
        return respelled(words, kinds, listed | {""} if positional else listed)

    @property
    def command_help(self) -> CommandHelp:
        """What its help is made of."""
        return CommandHelp(self.prog, self.description or "", self.options, self.examples)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """Return the help with all options."""
        return self.command_help.text(everything=True)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a UserError instead of leaving the program."""
        kinds = {option.key: option.kind for option in self.options if option.kind is not None}
        switches = {option.key for option in self.options if option.kind is None} | {"help"}
        positional = [option.key for option in self.options if not option.name.startswith("-")]
        many = any(option.many for option in self.options)
        why = explain(self._words, kinds, switches, positional, [field.name for field in fields(Recipe)], many)
        raise UserError(why or f"{dashed(' '.join(str(message).split()))}; {HELP}")

"""A command's help: the common options first and the others on request, in as many columns as the terminal has."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtrain.commands.option import Option
from qtrain.commands.words import dashed

HELP_WORDS = ("-h", "--help", "--help_all")
_HELD = "\N{NO-BREAK SPACE}"
_COLUMN = 26  # where the explanations begin
_FEW = 3  # so many rare options are shown at once
_NARROWEST = 60
_WIDEST = 110  # longer lines are hard to read


@dataclass(frozen=True)
class CommandHelp:
    """What there is to say of a command.

    Attributes:
        prog: how it is called, as in ``qtrain train``.
        about: what it does.
        options: in order.
        examples: whole command lines.
    """

    prog: str
    about: str
    options: Sequence[Option]
    examples: Sequence[str]

    def text(
        self, *, everything: bool = False, defaults: Mapping[str, Any] | None = None, whose: str = "", columns: int = 0
    ) -> str:
        """Return the help.

        Args:
            everything: with the rare options too.
            defaults: values in place of the options' own, by their keys.
            whose: what the defaults are those of, in a sentence.
            columns: of the text; 0 takes the terminal's.
        """
        width = min(max(columns or shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
        positional = [option for option in self.options if option.is_positional]
        calls = " ".join(f"[{option.shown}]" if option.optional else option.shown for option in positional)
        usage = " ".join(filter(None, ["usage:", self.prog, calls, "[OPTIONS]"]))
        parts = [usage, _filled(dashed(self.about), width, "", "")]
        if whose:
            parts.append(_filled(whose, width, "", ""))
        values = defaults or {}
        left = sum(option.rare for option in self.options)
        everything = everything or left <= _FEW
        if positional:
            parts.append("\n".join(_entry(option, option.default, width) for option in positional))
        for title, options in self._sections(everything):
            entries = [_entry(option, values.get(option.key, option.default), width) for option in options]
            parts.append("\n".join([f"{title}:", *entries]))
        if not everything:
            parts.append(f"{left} more options: {self.prog} --help-all")
        if self.examples:
            parts.append("\n".join(["examples:", *(f"  {example}" for example in self.examples)]))
        return "\n\n".join(parts) + "\n"

    def _sections(self, everything: bool) -> list[tuple[str, list[Option]]]:
        """Return titles and options that are shown, those of a recipe apart where all are."""
        named = [option for option in self.options if not option.is_positional]
        own = [option for option in named if not option.recipe]
        recipe = [option for option in named if option.recipe]
        if everything:
            sections = [("options", own), ("recipe", recipe)]
        else:
            common = [option for option in (*recipe, *own) if not option.rare]
            sections = [("common options" if len(common) < len(named) else "options", common)]
        return [(title, options) for title, options in sections if options]


def _entry(option: Option, default: Any, width: int) -> str:
    """Return an option and what it is, with its default."""
    text = dashed(" ".join(option.help.split())).removesuffix(".")
    if not option.is_positional and (value := default_text(option, default)):
        text += f" [default:{_HELD}{value}]"
    indent = " " * _COLUMN
    left = f"  {option.shown}"
    if len(left) > _COLUMN - 2:
        return f"{left}\n{_filled(text, width, indent, indent)}"
    return _filled(text, width, left.ljust(_COLUMN), indent)


def _filled(text: str, width: int, first: str, others: str) -> str:
    """Return text in lines of a width; options and names of folders are not broken."""
    lines = textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )
    return lines.replace(_HELD, " ")


def default_text(option: Option, value: Any) -> str:
    """Return a default as it would be given, nothing where there is none to speak of."""
    if option.kind is None or value is None or value in ("", {}) or value == "==SUPPRESS==":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value)

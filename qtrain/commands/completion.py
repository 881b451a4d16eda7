"""What a shell completes: ``qtrain --print-completion bash`` prints a script that shtab makes of the parsers.

The script holds all names, those of installed packages too, so that a key press starts no Python.
"""

import argparse
from collections.abc import Mapping, Sequence

from qtrain.commands.explain import choices_of
from qtrain.commands.option import Option
from qtrain.commands.parser import Parser
from qtrain.data.catalogue import DATASETS
from qtrain.errors import UserError, did_you_mean
from qtrain.models.zoo import FAMILIES
from qtrain.schedulers.catalogue import SCHEDULERS

SHELLS = ("bash", "zsh", "tcsh", "fish")
_WIDTHS = ("1W1A", "2W2A", "4W4A", "8W8A", "FLOAT")  # any others can be typed


def completion(shell: str, parsers: Mapping[str, Parser], about: Mapping[str, str]) -> str:
    """Return the script that lets a shell complete commands, options and their values.

    Args:
        shell: one of ``SHELLS``.
        parsers: of the commands, by name.
        about: what each command does, by name.

    Raises:
        UserError: another shell, or shtab is not installed or does not know this one.
    """
    if shell not in SHELLS:
        raise UserError(
            f"--print-completion must be one of {', '.join(SHELLS)}, but got {shell!r}{did_you_mean(shell, SHELLS)}"
        )
    try:
        import shtab
    except ImportError:
        raise UserError("--print-completion needs the package shtab; pip install shtab") from None
    if shell not in shtab.SUPPORTED_SHELLS:
        raise UserError(f"the installed shtab does not know {shell}; pip install --upgrade shtab")
    root = argparse.ArgumentParser(prog="qtrain")
    root.add_argument("--version", action="version", version="", help="print the version")
    root.add_argument("--print-completion", choices=SHELLS, help="print a script for the shell's completion")
    commands = root.add_subparsers()
    for name, parser in parsers.items():
        _add(commands.add_parser(name, help=about[name]), parser.options)
    return shtab.complete(root, shell)


def _add(parser: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    """Add a command's options, with what can be said of their values."""
    parser.add_argument("--help-all", action="help", help="list all options")
    for option in options:
        name = option.name.replace("_", "-") if not option.is_positional else option.name
        about = " ".join(option.help.split()).replace("%", "%%")
        if option.kind is None:
            parser.add_argument(name, action="store_true", help=about)
            continue
        nargs = "?" if option.is_positional and option.optional else None
        action = parser.add_argument(name, nargs=nargs, help=about)
        if choices := _choices(option):
            action.choices = choices
        elif complete := _paths(option):
            action.complete = complete  # type: ignore[attr-defined]  # shtab reads it
        if option.kind is bool:
            parser.add_argument(f"--no-{name[2:]}", action="store_true", help=about)


def _choices(option: Option) -> list[str]:
    """Return the names that an option's value is likely to be; none where it is a path or a number."""
    families = list(FAMILIES.names())
    names = [f"{name}_{bits}" for name in families for bits in _WIDTHS]
    if option.completes == "network":
        return names
    if option.completes == "family":
        return [*families, *names]
    if option.completes == "data":
        return list(DATASETS.names())
    if option.completes == "scheduler":
        return list(SCHEDULERS.names())
    if option.completes == "board":
        from qtrain.export.compiler.boards import BOARDS  # and with it torch

        return list(BOARDS.names())
    return ["true", "false"] if option.kind is bool else list(choices_of(option.kind))


def _paths(option: Option) -> dict[str, str]:
    """Return shtab's name for files or folders, where an option takes some."""
    import shtab

    return {"file": shtab.FILE, "folder": shtab.DIRECTORY}.get(option.completes, {})

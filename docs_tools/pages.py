"""The parts of the documentation's pages that come from code and records: ``python -m docs_tools.pages``.

A page has marks, ``<!-- generated: NAME -->`` to ``<!-- /generated -->``; what stands between them is written here.
``--lint`` first asks lint about every rule's example again (a minute) and writes ``results/lint_findings.jsonl``.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from docs_tools.gpu_expected import expected
from docs_tools.gpu_tables import gpu
from docs_tools.rules import base_network, record_findings, rules_by_topic, rules_table
from qtrain.cli import command_parsers
from qtrain.commands.option import Option
from qtrain.commands.parser import Parser
from qtrain.commands.words import dashed
from qtrain.recipe import load_recipe, shipped_recipes

DOCS = Path(__file__).parents[1] / "docs"
_MARKED = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
_SHOWN = ("epochs", "batch_size", "optimizer", "lr", "weight_decay", "baseline", "milestones", "gamma", "loss")
_WORDS = {int: "whole number", float: "number", bool: "true, false", str: "text", dict: "{name: value}", tuple: "list"}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- Commands --------------------------------------------------------------------------------------------------------


def commands() -> str:
    """A section a command: what it does, how it is called, its options; recipe options once, at the end."""
    parsers = command_parsers()
    parts = [_command(name, parser) for name, parser in parsers.items()]
    recipe = [option for option in parsers["train"].options if option.recipe]
    about = "`train`, `compare` and `lr-range` take these. Defaults are those without a shipped recipe "
    about += "([Recipes](recipes.md)); in a YAML file for `--config` the names have underscores."
    return "\n\n".join([*parts, "## Recipe options", about, _options(recipe)])


def _command(name: str, parser: Parser) -> str:
    positional = [option for option in parser.options if not option.name.startswith("-")]
    own = [option for option in parser.options if option.name.startswith("-") and not option.recipe]
    called = " ".join(_called(option) for option in positional)
    parts = [f"## qtrain {name}", dashed(parser.description or ""), f"    qtrain {name} {called} [OPTIONS]"]
    if parser.examples:
        parts.append("For instance:\n\n" + "\n".join(f"    {example}" for example in parser.examples))
    if positional:
        parts.append("\n".join(f"- `{option.key.upper()}`: {option.help}" for option in positional))
    if own:
        parts.append(_options(own))
    if any(option.recipe for option in parser.options):
        parts.append("And all [recipe options](#recipe-options).")
    return "\n\n".join(parts)


def _called(option: Option) -> str:
    """A positional argument as a call has it, in brackets where it may be left out."""
    name = option.key.upper() + ("..." if option.many else "")
    return f"[{name}]" if option.optional else name


def _options(options: list[Option]) -> str:
    rows = []
    for option in options:
        default = "" if option.kind is None else _value(option.default)
        rows.append([f"`{dashed(option.name)}`", _kind(option), default, dashed(_plain(option.help))])
    return table(["option", "takes", "default", "what"], rows)


def _plain(text: str) -> str:
    """One line, without a full stop."""
    return " ".join(text.split()).removesuffix(".")


def _kind(option: Option) -> str:
    """What an option takes, in words."""
    if option.kind is None:
        return "(a switch)"
    return "YAML file" if option.key == "config" else _words(option.kind)


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) in (None, tuple, dict):
        return _WORDS.get(get_origin(hint) or hint, "")
    return " or ".join(filter(None, map(_words, get_args(hint))))


def _value(value: Any) -> str:
    if value is None or value in ("", {}) or value == "==SUPPRESS==":
        return ""
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# --- Recipes ---------------------------------------------------------------------------------------------------------


def recipes() -> str:
    """What ships, one row a file."""
    rows = []
    for (family, data), path in shipped_recipes().items():
        recipe = load_recipe(path)
        rows.append([f"`{family.upper() if family != 'any' else 'any other'}`", data])
        rows[-1] += [_value(getattr(recipe, name)).strip("`") for name in _SHOWN]
    return table(["network", "data", *(name.replace("_", " ") for name in _SHOWN)], rows)


def recipe_sources() -> str:
    """Where each shipped recipe's numbers come from, in its file's own words."""
    lines = []
    for path in shipped_recipes().values():
        words = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
        lines.append(f"- `{path.name}`: {' '.join(words)}")
    return "\n".join(lines)


# --- Pages -----------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "recipes": recipes,
    "recipe-sources": recipe_sources,
    "base-network": base_network,
    "rules": rules_table,
    "rules-by-topic": rules_by_topic,
    "gpu": gpu,
    "gpu-expected": expected,
}


def filled(text: str) -> str:
    """A page's text with every marked part written anew.

    Raises:
        KeyError: a mark names no part.
    """
    return _MARKED.sub(lambda m: f"{m[1]}{PARTS[m[2]]()}\n{m[3]}", text)


def pages() -> list[Path]:
    """The pages that have marks."""
    return [path for path in sorted(DOCS.rglob("*.md")) if _MARKED.search(path.read_text())]


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lint", action="store_true", help="ask lint about every rule's example again")
    if parser.parse_args().lint:
        record_findings()
    for page in pages():
        page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()

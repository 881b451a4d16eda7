"""The parts of the documentation's pages that come from code and records: ``python -m docs_tools.pages``.

A page has marks, ``<!-- generated: NAME -->`` to ``<!-- /generated -->``; what stands between them is written here.
``--lint`` first asks lint about every rule's example again (a minute) and writes ``results/lint_findings.jsonl``.
"""

import argparse
import re
from argparse import Action, ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from docs_tools.gpu_tables import gpu
from docs_tools.rules import base_network, record_findings, rules_by_topic, rules_table
from qtrain.cli import make_parser
from qtrain.commands.words import dashed
from qtrain.recipe import Recipe, load_recipe, shipped_recipes

DOCS = Path(__file__).parents[1] / "docs"
_MARKED = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
_SHOWN = ("epochs", "batch_size", "optimizer", "lr", "weight_decay", "baseline", "milestones", "gamma", "loss")
_WORDS = {int: "whole number", float: "number", bool: "true, false", str: "text", dict: "{name: value}", tuple: "list"}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- Commands --------------------------------------------------------------------------------------------------------


def command_parsers() -> dict[str, ArgumentParser]:
    """Every command's own parser, by name."""
    return dict(make_parser()._subcommands_action._name_parser_map)  # type: ignore[union-attr]


def commands() -> str:
    """A section a command: what it does, how it is called, its options; recipe options once, at the end."""
    parsers = command_parsers()
    parts = [_command(name, parser) for name, parser in parsers.items()]
    recipe = [a for a in parsers["train"]._actions if _is_recipe_field(a)]
    about = "`train`, `compare` and `lr-range` take these. Defaults are those without a shipped recipe "
    about += "([Recipes](recipes.md)); in a YAML file for `--config` the names have underscores."
    return "\n\n".join([*parts, "## Recipe options", about, _options(recipe)])


def _command(name: str, parser: ArgumentParser) -> str:
    actions = [a for a in parser._actions if a.help != "==SUPPRESS==" and a.dest not in ("help", "print_shtab")]
    own = [a for a in actions if a.option_strings and not _is_recipe_field(a)]
    called = " ".join(f"[{a.dest.upper()}]" if a.nargs == "?" else a.dest.upper() for a in _positionals(actions))
    parts = [f"## qtrain {name}", dashed(parser.description or ""), f"    qtrain {name} {called} [OPTIONS]"]
    if _positionals(actions):
        parts.append("\n".join(f"- `{a.dest.upper()}`: {a.help}" for a in _positionals(actions)))
    if own:
        parts.append(_options(own))
    if any(_is_recipe_field(a) for a in actions):
        parts.append("And all [recipe options](#recipe-options).")
    return "\n\n".join(parts)


def _positionals(actions: list[Action]) -> list[Action]:
    return [a for a in actions if not a.option_strings]


def _is_recipe_field(action: Action) -> bool:
    """Whether an option is a recipe's field: those have the field's own help, from the docstring."""
    names = set(Recipe.__dataclass_fields__) - {"network"}
    return action.dest in names and str(action.help).rstrip().endswith(".")


def _options(actions: list[Action]) -> str:
    rows = []
    for action in actions:
        default = _value(action.default) if action.nargs != 0 else ""
        rows.append([f"`{_option(action)}`", _kind(action), default, dashed(_plain(str(action.help)))])
    return table(["option", "takes", "default", "what"], rows)


def _option(action: Action) -> str:
    return dashed(action.option_strings[-1])


def _plain(text: str) -> str:
    """One line, without jsonargparse's remark about flags of its own."""
    text = " ".join(text.split())
    return (text.partition(". The optional flags")[0]).removesuffix(".")


def _kind(action: Action) -> str:
    """What an option takes, in words."""
    if action.nargs == 0:
        return "(a switch)"
    hint = getattr(action, "_typehint", None)
    return "YAML file" if action.dest == "config" else _words(hint) if hint is not None else ""


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

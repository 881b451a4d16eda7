"""From words to recipes: the network and the data set decide which shipped recipe the other flags change."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from qtrain.commands.explain import arguments
from qtrain.commands.families import check_has_bits
from qtrain.commands.help import HELP_WORDS
from qtrain.commands.parser import Parser
from qtrain.commands.words import names_in, without_brackets
from qtrain.data.names import check_name
from qtrain.errors import UserError
from qtrain.experiments.sweep.axes import family_of
from qtrain.models.asked import grid_networks, one_network, split_bits
from qtrain.models.bits import parse_bits
from qtrain.models.names import folder_name
from qtrain.recipe import Recipe, default_recipe, shipped_recipe
from qtrain.records.plain_yaml import load_yaml
from qtrain.schedulers.catalogue import SCHEDULERS

PRINTING = ("train", "compare", "lr-range", "sweep", "fit")  # commands that know --print_config


def given_recipe(parser: Parser, words: list[str]) -> tuple[Namespace, Recipe]:
    """Parse twice: the network and the data set decide which shipped recipe the other flags change."""
    options = _first_pass(parser, words)
    check_has_bits(options.network)
    network, expression = one_network(options.network, options.bits)
    parse_bits(expression)
    options, recipe = _second_pass(parser, words, network, options)
    return options, recipe.replace(bits=expression)


def names_of(recipe: Recipe) -> str:
    """Return network and data as the beginning of a folder's name."""
    return f"{folder_name(recipe.network)}-{folder_name(recipe.data)}"


def given_family_recipe(parser: Parser, words: list[str]) -> tuple[Namespace, Recipe]:
    """Return the recipe of a family, which is the same at all widths; its network has some of them."""
    options = _first_pass(parser, words)
    return _second_pass(parser, words, f"{family_of(options.network)}_1W1A", options)


def given_recipes(parser: Parser, words: list[str]) -> tuple[Namespace, list[Recipe], bool]:
    """Return the recipe of every network that ``compare`` is given, each with its own shipped one beneath the flags.

    Returns:
        The options, the recipes, and whether they are a grid: several networks, or widths in ``--bits``.
    """
    options = _first_pass(parser, words)
    widths, expression = split_bits(options.bits)
    names = grid_networks(options.network, widths)
    found = [_second_pass(parser, words, name, options) for name in names]
    return found[0][0], [recipe.replace(bits=expression) for _, recipe in found], bool(widths) or len(names) > 1


def recipe_defaults(parser: Parser, words: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return the defaults that help is to show, and whose they are in a sentence.

    Args:
        parser: of a command that takes a recipe.
        words: behind the command, normalised, help among them; more may be wrong with them.
    """
    switches = {option.key for option in parser.options if option.kind is None}
    given = [word for word in words if word not in HELP_WORDS]
    asked = {name or "network": value for name, value in reversed([*arguments(given, switches)])}
    asked = _of_config(asked.get("config")) | asked
    network = asked.get("network")
    data = asked.get("data") or Recipe.defaults()["data"]
    if not network:
        return {}, "The defaults are qtrain's plain ones; name a network and --data for those of its shipped recipe."
    first, *others = names_in(without_brackets(network))
    try:
        name = first if ":" in first else f"{family_of(first)}_1W1A"
        check_name(data, asked.get("data_root"))
        found = default_recipe(name, data).to_dict()
    except UserError as error:
        return {}, f"The defaults are qtrain's plain ones: {error}"
    path = shipped_recipe(name, data)
    source = f"shipped recipe {path.name}" if path else f"recipe that {data} brings"
    each = " Each network has its own." if others else ""
    return found, f"The defaults are those of the {source}, for {first} on {data}.{each}"


def _of_config(path: str | None) -> dict[str, Any]:
    """Return network and data that a recipe in YAML names; what is wrong with it is said where it is used."""
    try:
        values = load_yaml(Path(path)) if path else {}
    except (OSError, ValueError):
        return {}
    names = values if isinstance(values, dict) else {}
    return {name: names[name] for name in ("network", "data") if isinstance(names.get(name), str)}


def _first_pass(parser: Parser, words: list[str]) -> Namespace:
    options = parser.parse(without_print(words))
    SCHEDULERS.check(options.scheduler)  # --print_config ends before a recipe is made
    if options.network is None:
        raise UserError("name a network, for instance: qtrain train CNV_1W1A --data digits")
    return options


def _second_pass(parser: Parser, words: list[str], network: str, options: Namespace) -> tuple[Namespace, Recipe]:
    defaults = default_recipe(network, options.data).to_dict()
    parser.set_defaults({name: value for name, value in defaults.items() if name != "network"})
    second = parser.parse(words)
    recipe = Recipe(**{name: second[name] for name in Recipe.__dataclass_fields__} | {"network": network})
    check_name(recipe.data, second.data_root)
    return second, recipe


def without_print(words: list[str]) -> list[str]:
    """Leave ``--print_config`` out: it waits for the shipped recipe."""
    return [word for word in words if not word.startswith("--print_config")]

"""From words to recipes: the network and the data set decide which shipped recipe the other flags change."""

from jsonargparse import Namespace

from qtrain.commands.parser import Parser
from qtrain.data.names import check_name
from qtrain.errors import UserError
from qtrain.experiments.sweep.axes import family_of
from qtrain.models.asked import grid_networks, one_network, split_bits
from qtrain.models.bits import parse_bits
from qtrain.models.names import folder_name
from qtrain.recipe import Recipe, default_recipe
from qtrain.schedulers.catalogue import SCHEDULERS

PRINTING = ("train", "compare", "lr-range", "sweep")  # commands that know --print_config


def given_recipe(parser: Parser, words: list[str]) -> tuple[Namespace, Recipe]:
    """Parse twice: the network and the data set decide which shipped recipe the other flags change."""
    options = _first_pass(parser, words)
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

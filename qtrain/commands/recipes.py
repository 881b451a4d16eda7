"""From words to recipes: the network and the data set decide which shipped recipe the other flags change."""

from jsonargparse import ArgumentParser, Namespace

from qtrain.errors import UserError
from qtrain.recipe import Recipe, default_recipe
from qtrain.schedulers.catalogue import SCHEDULERS

PRINTING = ("train", "compare", "lr-range", "sweep")  # commands that know --print_config


def given_recipe(parser: ArgumentParser, argv: list[str]) -> tuple[Namespace, Recipe]:
    """Parse twice: the network and the data set decide which shipped recipe the other flags change."""
    from qtrain.models import check_network

    options = _first_pass(parser, argv)
    return _second_pass(parser, argv, str(check_network(options.network)), options)


def given_family_recipe(parser: ArgumentParser, argv: list[str]) -> tuple[Namespace, Recipe]:
    """The recipe of a family, which is the same at all widths; its network has some of them."""
    from qtrain.experiments.sweep.axes import family_of

    options = _first_pass(parser, argv)
    return _second_pass(parser, argv, f"{family_of(options.network)}_1W1A", options)


def given_recipes(parser: ArgumentParser, argv: list[str]) -> tuple[Namespace, list[Recipe], bool]:
    """The recipe of every network that ``compare`` is given, each with its own shipped one beneath the flags.

    Returns:
        The options, the recipes, and whether they are a grid: several networks, or widths in ``--bits``.
    """
    from qtrain.experiments.comparison.grid import grid_networks, split_bits

    options = _first_pass(parser, argv)
    widths, expression = split_bits(options.bits)
    names = grid_networks(options.network, widths)
    found = [_second_pass(parser, argv, name, options) for name in names]
    return found[0][0], [recipe.replace(bits=expression) for _, recipe in found], bool(widths) or len(names) > 1


def _first_pass(parser: ArgumentParser, argv: list[str]) -> Namespace:
    first = parser.parse_args(without_print(argv))
    options: Namespace = first[first.command]
    SCHEDULERS.check(options.scheduler)  # --print_config ends before a recipe is made
    if options.network is None:
        raise UserError("name a network, for instance: qtrain train CNV_1W1A --data digits")
    return options


def _second_pass(parser: ArgumentParser, argv: list[str], network: str, options: Namespace) -> tuple[Namespace, Recipe]:
    defaults = default_recipe(network, options.data).to_dict()
    command = parser._subcommands_action._name_parser_map[argv[0]]  # type: ignore[union-attr]
    command.set_defaults({name: value for name, value in defaults.items() if name != "network"})
    second = parser.parse_args(argv)[argv[0]]
    return second, Recipe(**{name: second[name] for name in Recipe.__dataclass_fields__} | {"network": network})


def without_print(argv: list[str]) -> list[str]:
    """``--print_config`` waits for the shipped recipe."""
    return [w for w in argv if argv[0] not in PRINTING or not w.startswith("--print_config")]

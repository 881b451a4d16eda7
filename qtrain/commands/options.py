"""Options that several commands share."""

from argparse import Action
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from qtrain.recipe import Recipe
from qtrain.schedulers.catalogue import SCHEDULERS

RECIPES = (
    "The network's shipped recipe for the data set, where there is one, replaces the defaults shown here; "
    "--print_config prints what would be trained."
)


class _Network(Action):
    """Where none is given, that of ``--config`` stays."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if values is not None:
            setattr(namespace, self.dest, values)


def add_recipe(parser: ArgumentParser) -> None:
    """The network, a recipe as YAML, and its fields one by one."""
    parser.add_argument("network", nargs="?", action=_Network, help="name with its bit widths, e.g. CNV_1W1A")
    parser.add_argument("--config", action=ActionConfigFile, help="recipe as YAML; what else is given here wins")
    parser.add_class_arguments(Recipe, skip={"network"})
    (scheduler,) = [action for action in parser._actions if action.dest == "scheduler"]
    scheduler.help = f"{scheduler.help} One of {', '.join(SCHEDULERS.built_in)}, or an installed package's."


def add_machine(parser: ArgumentParser) -> None:
    """Where the data lie and what computes."""
    parser.add_argument("--data_root", type=str | None, help="folder of the data; else QTRAIN_DATA, else a cache")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")


def add_board(parser: ArgumentParser, default: str | None) -> None:
    """What FINN builds for."""
    parser.add_argument("--board", type=str | None, default=default, help="FINN's board name")
    parser.add_argument("--target_fps", type=int, default=1000, help="frames a second to fold for")
    parser.add_argument("--clock_ns", type=float, default=10.0, help="clock period in ns")


def add_network_options(parser: ArgumentParser) -> None:
    """What changes a network of the zoo, beside its name."""
    for name, kind, text in (
        ("width", float, "multiplies all channel counts; default 1"),
        ("bits", str, "other bits for single layers: first=8,stage2.*=4"),
        ("input_bits", int, "of the first quantizer; default 8"),
        ("scaling", str, "where quantizers' ranges come from; default the network's own choice"),
        ("power_of_two", bool, "round the scales of 2 bits and more to powers of two"),
        ("per_channel", bool, "weights with one scale for each output channel"),
    ):
        parser.add_argument(f"--{name}", type=kind | None, help=text)


def network_options(options: Namespace) -> dict[str, Any]:
    """Those that were given."""
    names = ("width", "bits", "input_bits", "scaling", "power_of_two", "per_channel")
    return {name: options[name] for name in names if options[name] is not None}

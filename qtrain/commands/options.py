"""Options that several commands share."""

from argparse import Action
from typing import Any

from jsonargparse import Namespace

from qtrain.commands.option import Completes
from qtrain.commands.parser import Parser
from qtrain.data.options import DataOptions, Layout
from qtrain.errors import UserError
from qtrain.recipe import Recipe, Scaling
from qtrain.training.loggers.make import DEFAULT, LOGGERS, check_loggers, parse_loggers

EXAMPLE_RESOURCES = "LUT=134600,BRAM_18K=730,URAM=0,DSP=740"
LIMITED = (("lut", "LUTs"), ("bram", "block RAMs of 18 Kb"), ("uram", "UltraRAMs"), ("dsp", "DSP slices"))
RECIPES = (
    "The network's shipped recipe for the data set, where there is one, takes the place of qtrain's plain "
    "defaults; --print_config prints what would be trained."
)


class _Network(Action):
    """Where none is given, that of ``--config`` stays."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if values is not None:
            setattr(namespace, self.dest, values)


def add_recipe(parser: Parser, completes: Completes = "network") -> None:
    """Add the network, a recipe as YAML, and its fields one by one.

    Args:
        parser: of the command.
        completes: what the shell offers for the network, which some commands take without its bits.
    """
    parser.add(
        "network",
        nargs="?",
        action=_Network,
        help="name with its bit widths, e.g. CNV_1W1A; qtrain models lists them",
        listed=True,
        completes=completes,
    )
    parser.add_recipe()


def add_machine(parser: Parser) -> None:
    """Where the data lie and what computes."""
    add_data_root(parser)
    parser.add("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N", takes="NAME")


def add_data_root(parser: Parser) -> None:
    """Add where the data lie."""
    about = "folder of the data; else QTRAIN_DATA, else a cache"
    parser.add("--data_root", type=str | None, help=about, takes="FOLDER", completes="folder")


def add_log(parser: Parser) -> None:
    """Add who gets the records of a run, or of each run of many; ``loggers_of`` reads it."""
    about = f"who gets the records: some of {', '.join(LOGGERS)}; or none"
    parser.add("--log", type=str, default=",".join(DEFAULT), help=about)


def loggers_of(options: Namespace) -> tuple[str, ...]:
    """Return the loggers that a command is asked for; of one that has no such option the usual ones.

    Raises:
        UserError: there is no such logger, or its package is missing.
    """
    if "log" not in options:
        return DEFAULT
    names = parse_loggers(options.log)
    check_loggers(names)
    return names


def add_board(parser: Parser, default: str | None) -> None:
    """Add the options that say what FINN builds for; ``asked_target`` reads the first three."""
    other = f"; default {default}" if default else ""
    parser.add("--board", type=str | None, help=f"FINN's board name{other}", takes="NAME", completes="board")
    add_part(parser)
    parser.add("--target_fps", type=int, default=1000, help="frames a second to fold for")
    parser.add("--clock_ns", type=float, default=10.0, help="clock period in ns")


def add_limits(parser: Parser, rare: bool = False) -> None:
    """Add the most of each resource that a network may take, and the least accuracy.

    Args:
        parser: of the command.
        rare: whether ``--help`` leaves them to ``--help-all``.
    """
    for name, what in LIMITED:
        about = f"the most {what}: 70% of the board, or a number"
        parser.add(f"--max_{name}", type=str | None, help=about, rare=rare or name in ("uram", "dsp"))
    parser.add("--min_accuracy", type=float | None, help="in percent of the validation images", rare=rare)


def add_data(parser: Parser, text: str) -> None:
    """Add a data set or data of one's own, and how these are read, for commands that take no recipe."""
    parser.add("--data", type=str | None, help=text, takes="NAME", completes="data")
    add_data_root(parser)
    for name, kind, about in (
        ("image_size", str, "of a folder of images: pixels such as 48, or 32x64 (height x width)"),
        ("channels", int, "of data of your own: 1 or 3 for images, what arrays must have"),
        ("layout", Layout, "of arrays"),
        ("value_range", str, "of values that are no bytes, as in -1,1"),
    ):
        parser.add(f"--{name}", type=kind | None, help=about, rare=True)


def data_options(options: Namespace) -> DataOptions:
    """Return how data of one's own are read.

    Raises:
        UserError: something that does not fit.
    """
    names = ("image_size", "channels", "layout", "value_range")
    return Recipe("", **{name: options[name] for name in names}).data_options


def add_part(parser: Parser) -> None:
    """Add the options that name a part in place of a board."""
    about = "FPGA part without a board, as xc7z010clg400-1: no bitfile"
    parser.add("--part", type=str | None, help=about, takes="NAME", rare=True)
    parser.add("--resources", type=str | None, help=f"of a part that is in no table: {EXAMPLE_RESOURCES}", rare=True)


def asked_target(options: Namespace) -> str | None:
    """Return what FINN shall build for, as one name that ``get_board`` knows; None where nothing was given.

    Raises:
        UserError: there is no such board or part, resources without a part, or a board with a part that is not its own.
    """
    if options.part is None:
        if options.resources is not None:
            raise UserError("--resources goes with --part: what a board holds is known")
        board: str | None = options.board
        return board
    from qtrain.export import get_board

    target = get_board(options.part if options.resources is None else f"{options.part}:{options.resources}")
    if options.board is None:
        return target.name
    shell = get_board(options.board)
    if shell.part != target.part:
        raise UserError(
            f"FINN's shell for {shell.label} is made for {shell.part} whatever part is given, not for {target.part}: "
            "leave --board away for the part alone (no bitfile), or leave --part away"
        )
    if options.resources is not None:
        raise UserError(f"--resources goes with --part alone: what {shell.label} holds is known")
    return shell.name


def add_network_options(parser: Parser) -> None:
    """What changes a network of the zoo, beside its name."""
    for name, kind, text in (
        ("width", float, "multiplies all channel counts; default 1"),
        ("bits", str, "other bits for single layers: first=8,stage2.*=4; of a network of your own all: 4 or 1W4A"),
        ("input_bits", int, "of the first quantizer; default 8"),
        ("scaling", Scaling, "where quantizers' ranges come from; default the network's own choice"),
        ("power_of_two", bool, "round the scales of 2 bits and more to powers of two"),
        ("per_channel", bool, "weights with one scale for each output channel"),
    ):
        parser.add(f"--{name}", type=kind | None, help=text, listed=name == "bits")


def network_options(options: Namespace) -> dict[str, Any]:
    """Return the options of the network that were given."""
    names = ("width", "bits", "input_bits", "scaling", "power_of_two", "per_channel")
    return {name: options[name] for name in names if options[name] is not None}

"""The command line's grammar: what can be given, and what is wrong with what was given, in a user's words."""

import re
from argparse import Action
from collections.abc import Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from qtrain import __version__
from qtrain.errors import UserError
from qtrain.recipe import Recipe, default_recipe
from qtrain.sweep_arguments import Engine, add_sweep

_ALIASES = {"--random_seed": "--seed"}  # bnn_pynq's name
_RECIPE_FIELDS = tuple(Recipe.__dataclass_fields__)
_SWITCHES = [name for name, kind in get_type_hints(Recipe).items() if kind is bool]
_TYPES = {**get_type_hints(Recipe), "seeds": int, "tolerance": float, "target_fps": int}
_TYPES |= {"max_minutes": float, "epochs_scale": float, "rounds": int, "tune_seeds": int, "jobs": int}
_TYPES |= {"from": int | None, "engine": Engine, "cpus": float, "gpus": float, "retries": int}
_TYPES |= {"search": int | None, "search_epochs": int | None}
_TYPES |= {"dialect": Literal["qonnx", "finn-base"]}
_TYPES |= {"clock_ns": float, "timeout_s": float, "low": float, "high": float, "steps": int, "every": int}
_TYPES |= {"max_utilization": float}
_What = Literal["all", "table1", "table2", "table3", "table4", "figure3", "figure4", "figure5", "figure6"]
_TYPES |= {"what": _What}
_IN_WORDS = {int: "a whole number", float: "a number", bool: "true or false", tuple: "a list such as [0.5,0.75]"}


class _Parser(ArgumentParser):
    """Options are written with dashes and in full; an error is one line in a user's words."""

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        return dashed(super().format_help(*args, **kwargs))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(_plain(" ".join(str(message).split())))


class _Network(Action):
    """Where none is given, that of ``--config`` stays."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if values is not None:
            setattr(namespace, self.dest, values)


def dashed(text: str) -> str:
    """Options as they are shown: ``--batch_size`` as ``--batch-size``."""
    return re.sub(r"--[a-z][a-z_]*", lambda m: m[0].replace("_", "-"), text)


def _allowed(kind: Any) -> str:
    """A type in words; ``int | None`` is an int that may be left out."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    parts = [kind] if get_origin(kind) is tuple else get_args(kind) or [kind]
    words = [_IN_WORDS.get(get_origin(part) or part, "") for part in parts]
    words += [str(value) for part in parts if get_origin(part) is Literal for value in get_args(part)]
    return " or ".join(filter(None, words)) or "text"


def _plain(message: str) -> str:
    """What jsonargparse says, without its internals."""
    if match := re.match(r'Parser key "(\w+)": .*(?:Got|Given) value: ?(.*)', message):
        name, value = match.groups()
        if name in _TYPES:
            return f"{name} must be {_allowed(_TYPES[name])}, but got {value!r}"
    if match := re.match(r'Parser key "config": (.*)', message):
        return f"--config must name a YAML file: {match[1]}"
    if match := re.match(r"Subcommand '[\w-]+' does not accept option '(.*)'", message):
        return f"--config has no field {match[1]}; fields are {', '.join(_RECIPE_FIELDS)}"
    if match := re.match(r"(?:Problems parsing|Unexpected) config:(.*)", message):
        return f"--config must map names to values in YAML; it does not:{match[1]}"
    if message.startswith("unrecognized arguments"):
        return f"{dashed(message)}; qtrain COMMAND --help lists what there is"
    return dashed(message)


def _add_recipe(parser: ArgumentParser) -> None:
    parser.add_argument("network", nargs="?", action=_Network, help="name with its bit widths, e.g. CNV_1W1A")
    parser.add_argument("--config", action=ActionConfigFile, help="recipe as YAML; what else is given here wins")
    parser.add_class_arguments(Recipe, skip={"network"})


def _add_machine(parser: ArgumentParser) -> None:
    parser.add_argument("--data_root", type=str | None, help="folder of the data; else QTRAIN_DATA, else a cache")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or cuda:N")


def _add_board(parser: ArgumentParser, default: str | None) -> None:
    parser.add_argument("--board", type=str | None, default=default, help="FINN's board name")
    parser.add_argument("--target_fps", type=int, default=1000, help="frames a second to fold for")
    parser.add_argument("--clock_ns", type=float, default=10.0, help="clock period in ns")


def _add_network_options(parser: ArgumentParser) -> None:
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


def make_parser() -> ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="qtrain",
        description="Train quantized networks once, deploy them with FINN. For instance: qtrain train CNV_1W1A --data "
        "digits --out runs/a, then qtrain export runs/a --board ZCU104, then qtrain verify runs/a/finn.",
    )
    parser.add_argument("--version", action="version", version=f"qtrain {__version__}")
    commands = parser.add_subcommands(dest="command")

    recipes = "The network's shipped recipe for the data set, where there is one, replaces the defaults shown here; "
    recipes += "--print_config prints what would be trained."
    train = _Parser(description=f"Train a network into a run folder. {recipes}")
    _add_recipe(train)
    train.add_argument("--out", type=str | None, help="run folder to make; default runs/NETWORK-DATA-SCHEDULER-seedN")
    train.add_argument("--resume", type=str | None, help="run folder to continue, by its own recipe")
    _add_machine(train)
    commands.add_subcommand("train", train, help="train a network")

    lr_range = _Parser(
        description="Find a learning rate to start from: train with a rate that rises on a line, watch the accuracy on "
        "held-out images, take the middle of the usable window, draw the curve. Nothing of it is kept. --lr auto in "
        "train and compare does the same with these defaults."
    )
    _add_recipe(lr_range)
    lr_range.add_argument("--low", type=float, default=0.0, help="learning rate of the first step")
    lr_range.add_argument("--high", type=float | None, help="of the last; default 1 for sgd and nag, 0.1 for adam")
    lr_range.add_argument("--steps", type=int | None, help="at most so many; default 3 epochs, but 200 to 1000")
    lr_range.add_argument("--every", type=int | None, help="steps between readings; default a fortieth of the steps")
    lr_range.add_argument("--out", type=str | None, help="figure to write; default runs/lr-range-NETWORK-DATA-....png")
    _add_machine(lr_range)
    commands.add_subcommand("lr-range", lr_range, help="find a learning rate")

    export = _Parser(description="Export a run to a FINN folder and prove it equal to torch.")
    export.add_argument("run", type=str, help="run folder")
    export.add_argument("--out", type=str | None, help="FINN folder to make; default RUN/finn")
    _add_board(export, "ZCU104")
    export.add_argument("--data_root", type=str | None, help="folder of the data; else QTRAIN_DATA, else a cache")
    export.add_argument(
        "--dialect", type=_TYPES["dialect"], default="qonnx", help="finn-base adds model_finn_base.onnx"
    )
    export.add_argument("--refused_too", action="store_true", help="export also what lint says FINN refuses")
    commands.add_subcommand("export", export, help="make a FINN folder of a run")

    verify = _Parser(description="Repeat the proof of a FINN folder, from the folder alone.")
    verify.add_argument("folder", type=str, help="FINN folder; with --finn also a QONNX file")
    verify.add_argument("--finn", action="store_true", help="prove the graph after each of the compiler's steps too")
    verify.add_argument("--finn_base", action="store_true", help="execute the graph in finn-base too (make finn-base)")
    verify.add_argument("--images", type=str | None, help="a number or all; default as many as time allows")
    verify.add_argument("--json", action="store_true", help="with --finn: print the proof as JSON")
    verify.add_argument("--data", type=str | None, help="of a QONNX file: test images to take; default random ones")
    verify.add_argument("--data_root", type=str | None, help="folder of the data; else QTRAIN_DATA, else a cache")
    commands.add_subcommand("verify", verify, help="prove a FINN folder again")

    estimate = _Parser(
        description="Let the real FINN compiler build a FINN folder or a QONNX file up to its estimates (make finn): "
        "LUT, BRAM, URAM, DSP and cycles by layer, frames/s, against the board. Exit status 1 where it is estimated "
        "not to fit the board or to miss the target. Without the compiler: MACs, BOPs, bits."
    )
    estimate.add_argument("target", type=str, help="FINN folder, or a QONNX file that is ready for FINN")
    estimate.add_argument("--out", type=str | None, help="folder for the output; default FOLDER/estimate")
    estimate.add_argument("--board", type=str | None, help="FINN's board name; default the folder's; a file: ZCU104")
    estimate.add_argument("--target_fps", type=int | None, help="frames a second to fold for; default the folder's")
    estimate.add_argument("--clock_ns", type=float | None, help="clock period in ns; default the folder's")
    estimate.add_argument("--max_fps", action="store_true", help="search the most frames a second that fit the board")
    estimate.add_argument("--max_utilization", type=float, default=1.0, help="share of the board that may be used")
    estimate.add_argument("--save_folding", action="store_true", help="write the folding into the FINN folder's build")
    estimate.add_argument("--cost_only", action="store_true", help="count MACs, BOPs and bits; needs no compiler")
    estimate.add_argument("--json", action="store_true", help="print the estimate as JSON")
    estimate.add_argument("--timeout_s", type=float, default=900.0, help="seconds until the compiler is stopped")
    commands.add_subcommand("estimate", estimate, help="ask the FINN compiler")

    lint = _Parser(
        description="Check a network against what FINN takes, before it is trained; exit status 1 where FINN would "
        "refuse it or get it wrong."
    )
    lint.add_argument("target", type=str, help="CNV_1W1A, a run folder, model.onnx, or my_module:MyNet (from here)")
    lint.add_argument("--input_shape", type=str | None, help="of one image: channels,height,width; default 3,32,32")
    _add_network_options(lint)
    lint.add_argument("--json", action="store_true", help="print the findings as JSON")
    commands.add_subcommand("lint", lint, help="find what FINN would refuse")

    models = _Parser(description="List the networks there are, or one network's layers, whose paths --bits takes.")
    models.add_argument("network", nargs="?", type=str | None, help="name with its bit widths; all families without")
    _add_network_options(models)
    models.add_argument("--json", action="store_true", help="print as JSON")
    commands.add_subcommand("models", models, help="list networks and layers")

    compare = _Parser(
        description="Compare ASLR with other schedules on one or several networks; exit status 1 where the lower end "
        "of the 95 % interval of its paired difference falls short. Several networks: CNV_1W1A,VGG11_2W2A, or families "
        f"and widths as in CNV,VGG11 --bits 1,2,4,8,first=8. {recipes}"
    )
    _add_recipe(compare)
    compare.add_argument("--schedulers", type=str, default="aslr,multistep", help="comma-separated")
    compare.add_argument("--seeds", type=int, default=3, help="runs a scheduler")
    compare.add_argument("--tolerance", type=float, default=0.5, help="points that the challenger may fall short by")
    compare.add_argument("--challenger", type=str, default="aslr", help="the scheduler that is judged")
    compare.add_argument(
        "--against",
        type=str | None,
        help="comma-separated schedulers it is held against; default the recipe's baseline where it takes part, else "
        "the others tuned by hand, else all others",
    )
    compare.add_argument("--tuning", type=str | None, help="tuning runs spent before, for the record: multistep=9")
    compare.add_argument(
        "--lr_from",
        type=str | None,
        help="fix ONE lr0 for ASLR, found at these bits (--lr, else the range test), for all --bits; beside it the "
        "baseline tuned at each width over --grid, and the baseline tuned at these bits alone",
    )
    compare.add_argument("--grid", type=str, default="0.1,0.03,0.01,0.003", help="with --lr_from: rates to tune over")
    compare.add_argument("--tune_seeds", type=int, default=1, help="with --lr_from: runs a rate of the grid")
    compare.add_argument("--jobs", type=int, default=1, help="runs at a time, each in a process of its own")
    compare.add_argument("--again", action="store_true", help="train runs anew that diverged before")
    compare.add_argument("--out", type=str | None, help="folder; default runs/compare-NETWORK-DATA; finished runs stay")
    _add_board(compare, None)
    _add_machine(compare)
    commands.add_subcommand("compare", compare, help="compare schedulers")

    sweep = _Parser(
        description="Train one recipe at every bit width, prove, lint, export and estimate each; write a table and an "
        "interactive page of accuracy against cost. Exit status 1 where a cell failed. --bits 'first=8,last=8;none' is "
        "an axis too. For instance: qtrain sweep CNV --weight-bits 1,2,4,8 --act-bits 1,2,4,8 --seeds 3 --data digits "
        f"--board ZCU104. {recipes}"
    )
    _add_recipe(sweep)
    add_sweep(sweep)
    _add_board(sweep, None)
    _add_machine(sweep)
    commands.add_subcommand("sweep", sweep, help="accuracy against hardware cost over bit widths")

    _add_reproduce(commands)

    report = _Parser(description="Write a comparison's table and report again, from its records.")
    report.add_argument("folder", type=str, help="folder that qtrain compare wrote")
    commands.add_subcommand("report", report, help="render a comparison again")
    return parser


def _add_reproduce(commands: Any) -> None:
    reproduce = _Parser(
        description="Run what is missing of the ASLR paper's tables until the time is up; the same command goes on, "
        "also inside a run. The page shows ours beside the paper's."
    )
    reproduce.add_argument("what", nargs="?", type=_What, default="all", help="table1..4, figure3..6, or all")
    reproduce.add_argument("--max_minutes", type=float | None, help="stop after so long; default when all is done")
    reproduce.add_argument("--list", action="store_true", help="print the runs and their state, and run nothing")
    reproduce.add_argument("--networks", type=str | None, help="comma-separated; default all of the table")
    reproduce.add_argument("--seeds", type=int, default=3, help="runs a network and schedule")
    reproduce.add_argument("--protocol", type=Literal["holdout", "paper"], default="holdout", help="paper: test set")
    reproduce.add_argument("--epochs_scale", type=float, default=1.0, help="share of the epochs; a table of its own")
    reproduce.add_argument("--width", type=float | None, help="of all networks; a table of its own")
    reproduce.add_argument("--train_size", type=int | None, help="training images; a table of its own")
    reproduce.add_argument("--jobs", type=int, default=1, help="runs at a time, each in a process of its own")
    reproduce.add_argument("--rounds", type=int, default=5, help="of table2's time measurement")
    reproduce.add_argument("--out", type=str, default="runs/reproduce", help="folder of the runs")
    reproduce.add_argument("--results", type=str, default="results/reproduce.jsonl", help="lines are added to it")
    reproduce.add_argument("--page", type=str, default="docs/reproduce.md", help="Markdown to write, figures beside")
    _add_machine(reproduce)
    commands.add_subcommand("reproduce", reproduce, help="run the paper's tables")


def normalised(argv: Sequence[str]) -> list[str]:
    """``--target-fps=5`` as ``--target_fps=5``, values as they are; ``--config`` first, so that all else wins.

    A switch needs no value: before another option or at the end ``--compile`` is ``--compile=true``, and
    ``--no-compile`` is ``--compile=false`` anywhere.
    """
    words: list[str] = []
    for i, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
            word = _ALIASES.get(name, name) + equals + value
            if name.startswith("--no_") and name[5:] in _SWITCHES and not equals:
                word = f"--{name[5:]}=false"
            elif name[2:] in _SWITCHES and not equals and (i + 1 == len(argv) or argv[i + 1].startswith("--")):
                word = f"{name}=true"
        words.append(word)
    config: list[str] = []
    while (at := next((i for i, w in enumerate(words) if w.partition("=")[0] == "--config"), None)) is not None:
        end = at + 1 if "=" in words[at] else at + 2
        config += words[at:end]
        del words[at:end]
    return words[:1] + config + words[1:]


def given_recipe(parser: ArgumentParser, argv: list[str]) -> tuple[Namespace, Recipe]:
    """Parse twice: the network and the data set decide which shipped recipe the other flags change."""
    from qtrain.models import check_network

    options = _first_pass(parser, argv)
    return _second_pass(parser, argv, str(check_network(options.network)), options)


def given_family_recipe(parser: ArgumentParser, argv: list[str]) -> tuple[Namespace, Recipe]:
    """The recipe of a family, which is the same at all widths; its network has some of them."""
    from qtrain.experiments.sweep_axes import family_of

    options = _first_pass(parser, argv)
    return _second_pass(parser, argv, f"{family_of(options.network)}_1W1A", options)


def given_recipes(argv: list[str]) -> tuple[Namespace, list[Recipe], bool]:
    """The recipe of every network that ``compare`` is given, each with its own shipped one beneath the flags.

    Returns:
        The options, the recipes, and whether they are a grid: several networks, or widths in ``--bits``.
    """
    from qtrain.experiments.grid import grid_networks, split_bits

    options = _first_pass(make_parser(), argv)
    widths, expression = split_bits(options.bits)
    names = grid_networks(options.network, widths)
    found = [_second_pass(make_parser(), argv, name, options) for name in names]
    return found[0][0], [recipe.replace(bits=expression) for _, recipe in found], bool(widths) or len(names) > 1


def _first_pass(parser: ArgumentParser, argv: list[str]) -> Namespace:
    first = parser.parse_args(without_print(argv))
    options: Namespace = first[first.command]
    if options.network is None:
        raise UserError("name a network, for instance: qtrain train CNV_1W1A --data digits")
    return options


def _second_pass(parser: ArgumentParser, argv: list[str], network: str, options: Namespace) -> tuple[Namespace, Recipe]:
    defaults = default_recipe(network, options.data).to_dict()
    command = parser._subcommands_action._name_parser_map[argv[0]]  # type: ignore[union-attr]
    command.set_defaults({name: value for name, value in defaults.items() if name != "network"})
    second = parser.parse_args(argv)[argv[0]]
    return second, Recipe(**{name: second[name] for name in _RECIPE_FIELDS} | {"network": network})


def names_in(text: str) -> list[str]:
    """The names of a comma-separated list, as they were given."""
    return [name.strip() for name in text.split(",")]


def without_print(argv: list[str]) -> list[str]:
    """``--print_config`` waits for the shipped recipe."""
    return [
        w
        for w in argv
        if argv[0] not in ("train", "compare", "lr-range", "sweep") or not w.startswith("--print_config")
    ]

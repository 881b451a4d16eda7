"""The command line. Exit status: 0 done, 1 comparison failed, 2 wrong input, 3 proof failed, 130 interrupted."""

import os
import re
import sys
import warnings
from argparse import Action
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from qtrain import __version__
from qtrain.errors import UserError
from qtrain.recipe import Recipe, default_recipe

COMPARISON_FAILED, WRONG_INPUT, PROOF_FAILED, INTERRUPTED = 1, 2, 3, 130
# Two threads that spin while they wait cost 3 times the time on a busy machine; read when torch is imported.
_OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
_ALIASES = {"--random_seed": "--seed"}  # bnn_pynq's name
_RECIPE_FIELDS = tuple(Recipe.__dataclass_fields__)


_TYPES = {**get_type_hints(Recipe), "seeds": int, "tolerance": float, "target_fps": int, "clock_ns": float}
_IN_WORDS = {int: "a whole number", float: "a number", bool: "true or false", tuple: "a list such as [0.5,0.75]"}


class _Parser(ArgumentParser):
    """Options are written with dashes and in full; an error is one line in a user's words."""

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        return _dashed(super().format_help(*args, **kwargs))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        _fail(_plain(" ".join(str(message).split())), WRONG_INPUT)


class _Network(Action):
    """Where none is given, that of ``--config`` stays."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if values is not None:
            setattr(namespace, self.dest, values)


def _dashed(text: str) -> str:
    return re.sub(r"--[a-z][a-z_]*", lambda m: m[0].replace("_", "-"), text)


def _allowed(kind: Any) -> str:
    """A type in words; ``int | None`` is an int that may be left out."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    for part in (kind, get_origin(kind), *get_args(kind)):
        if part in _IN_WORDS:
            return _IN_WORDS[part]
    return "text"


def _plain(message: str) -> str:
    """What jsonargparse says, without its internals."""
    if match := re.match(r'Parser key "(\w+)": .*(?:Got|Given) value: ?(.*)', message):
        name, value = match.groups()
        if name in _TYPES:
            return f"{name} must be {_allowed(_TYPES[name])}, but got {value!r}"
    if match := re.match(r'Parser key "config": (.*)', message):
        return f"--config must name a YAML file: {match[1]}"
    if match := re.match(r"Subcommand '\w+' does not accept option '(.*)'", message):
        return f"--config has no field {match[1]}; fields are {', '.join(_RECIPE_FIELDS)}"
    if match := re.match(r"(?:Problems parsing|Unexpected) config:(.*)", message):
        return f"--config must map names to values in YAML; it does not:{match[1]}"
    if message.startswith("unrecognized arguments"):
        return f"{_dashed(message)}; qtrain COMMAND --help lists what there is"
    return _dashed(message)


def _fail(message: str, status: int) -> NoReturn:
    print(f"qtrain: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


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

    export = _Parser(description="Export a run to a FINN folder and prove it equal to torch.")
    export.add_argument("run", type=str, help="run folder")
    export.add_argument("--out", type=str | None, help="FINN folder to make; default RUN/finn")
    _add_board(export, "ZCU104")
    export.add_argument("--data_root", type=str | None, help="folder of the data; else QTRAIN_DATA, else a cache")
    commands.add_subcommand("export", export, help="make a FINN folder of a run")

    verify = _Parser(description="Repeat the proof of a FINN folder, from the folder alone.")
    verify.add_argument("folder", type=str, help="FINN folder")
    commands.add_subcommand("verify", verify, help="prove a FINN folder again")

    compare = _Parser(description=f"Compare ASLR with other schedules; exit status 1 where it falls short. {recipes}")
    _add_recipe(compare)
    compare.add_argument("--schedulers", type=str, default="aslr,multistep", help="comma-separated; aslr among them")
    compare.add_argument("--seeds", type=int, default=3, help="runs a scheduler")
    compare.add_argument("--tolerance", type=float, default=0.5, help="points that ASLR may fall short by")
    compare.add_argument("--out", type=str | None, help="folder; default runs/compare-NETWORK-DATA; finished runs stay")
    _add_board(compare, None)
    _add_machine(compare)
    commands.add_subcommand("compare", compare, help="compare schedulers")
    return parser


def _normalised(argv: Sequence[str]) -> list[str]:
    """``--target-fps=5`` as ``--target_fps=5``, values as they are; ``--config`` first, so that all else wins."""
    words: list[str] = []
    for word in argv:
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
            word = _ALIASES.get(name, name) + equals + value
        words.append(word)
    config: list[str] = []
    while (at := next((i for i, w in enumerate(words) if w.partition("=")[0] == "--config"), None)) is not None:
        end = at + 1 if "=" in words[at] else at + 2
        config += words[at:end]
        del words[at:end]
    return words[:1] + config + words[1:]


def _recipe(parser: ArgumentParser, argv: list[str]) -> tuple[Namespace, Recipe]:
    """Parse twice: the network and the data set decide which shipped recipe the other flags change."""
    first = parser.parse_args(_without_print(argv))
    options = first[first.command]
    if options.network is None:
        raise UserError("name a network, for instance: qtrain train CNV_1W1A --data digits")
    from qtrain.models import check_network

    network = str(check_network(options.network))
    defaults = default_recipe(network, options.data).to_dict()
    command = parser._subcommands_action._name_parser_map[first.command]  # type: ignore[union-attr]
    command.set_defaults({name: value for name, value in defaults.items() if name != "network"})
    second = parser.parse_args(argv)[first.command]
    return second, Recipe(**{name: second[name] for name in _RECIPE_FIELDS} | {"network": network})


def _without_print(argv: list[str]) -> list[str]:
    """``--print_config`` waits for the shipped recipe."""
    return [w for w in argv if argv[0] not in ("train", "compare") or not w.startswith("--print_config")]


def _train(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.experiments.run import resume_run, train_recipe
    from qtrain.training import Terminal

    if options.resume is not None:
        given = [word for word in argv[1:] if word.startswith("--") or word == options.network]
        extra = [w for w in given if w.partition("=")[0] not in ("--resume", "--data_root", "--device")]
        if extra:
            raise UserError(f"--resume continues the folder's own recipe; leave out {_dashed(', '.join(extra))}")
        out = Path(options.resume)
        result = resume_run(out, data_root=options.data_root, device=options.device, watch=Terminal())
    else:
        options, recipe = _recipe(parser, argv)
        stem = f"{recipe.network}-{recipe.data}-{recipe.scheduler}-seed{recipe.seed}"
        out = Path(options.out or f"runs/{stem}")
        result = train_recipe(recipe, out, data_root=options.data_root, device=options.device, watch=Terminal())
    print(
        f"{out}: test accuracy {result.test_accuracy:.2f} % (epoch {result.best_epoch} of {result.epochs}, "
        f"best validation {result.validation_accuracy:.2f} %), {result.seconds:.0f} s"
    )
    return 0


def _export(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.experiments.run import export_run
    from qtrain.report.tables import print_proof

    out = Path(options.out or Path(options.run) / "finn")
    proof = export_run(
        Path(options.run),
        out,
        board=options.board,
        target_fps=options.target_fps,
        clock_ns=options.clock_ns,
        data_root=options.data_root,
        say=print,
    )
    print_proof(asdict(proof))
    print(f"{out}: ready for FINN on {options.board}")
    return 0


def _verify(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.export import verify
    from qtrain.report.tables import print_proof

    print_proof(asdict(verify(options.folder, say=print)))
    return 0


def _compare(parser: ArgumentParser, argv: list[str], options: Namespace) -> int:
    from qtrain.experiments.compare import compare, export_cells
    from qtrain.export import check_target
    from qtrain.report.html import write_report
    from qtrain.report.tables import print_comparison
    from qtrain.training import Terminal

    options, recipe = _recipe(parser, argv)
    out = Path(options.out or f"runs/compare-{recipe.network}-{recipe.data}")
    if options.board is not None:
        check_target(options.board, options.target_fps, options.clock_ns)  # before hours of training
    comparison = compare(
        recipe,
        out,
        schedulers=[name.strip() for name in options.schedulers.split(",")],
        seeds=options.seeds,
        tolerance=options.tolerance,
        data_root=options.data_root,
        device=options.device,
        watch=Terminal(),
        say=print,
    )
    if options.board is not None:
        export_cells(
            comparison,
            board=options.board,
            target_fps=options.target_fps,
            clock_ns=options.clock_ns,
            data_root=options.data_root,
            say=print,
        )
    print_comparison(out)
    print(f"{write_report(out)}: the report")
    if comparison.shortfalls:
        behind = " and ".join(f"{-points:.2f} points behind {name}" for name, points in comparison.shortfalls.items())
        _fail(f"aslr is {behind}; {comparison.tolerance:g} points are allowed", COMPARISON_FAILED)
    return 0


_COMMANDS = {"train": _train, "export": _export, "verify": _verify, "compare": _compare}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    for name, value in _OPENMP.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"(brevitas|torch|onnx|qonnx|matplotlib)\b")
    words = _normalised(sys.argv[1:] if argv is None else argv)
    try:
        parser = make_parser()
        if not words:
            print(parser.format_help())
            _fail(f"name a command: {', '.join(_COMMANDS)}", WRONG_INPUT)
        options: Any = parser.parse_args(_without_print(words))
        status = _COMMANDS[options.command](parser, words, options[options.command])
    except UserError as error:
        _fail(str(error), WRONG_INPUT)
    except UnicodeDecodeError as error:  # the only file that is not ours to read is jsonargparse's
        _fail(f"--config must name a text file in UTF-8: {error}", WRONG_INPUT)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror or error}" if error.filename else str(error), WRONG_INPUT)
    except KeyboardInterrupt as error:
        again = "the same command" if words[0] == "compare" else "qtrain train --resume and that folder"
        _fail(f"{error}; continue with {again}" if str(error) else "interrupted", INTERRUPTED)
    except Exception as error:
        from qtrain.export.errors import ProofError

        if not isinstance(error, ProofError):
            raise
        _fail(f"proof failed: {error}", PROOF_FAILED)
    sys.exit(status)

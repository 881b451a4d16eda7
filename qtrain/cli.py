"""The command line. Exit status: 0 done, 1 comparison, lint or estimate failed, 2 wrong input, 3 proof, 130 Ctrl-C."""

import logging
import os
import resource
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

from qtrain import __version__
from qtrain.commands.again import GoesOn, OutOfStorage, same_command
from qtrain.commands.comparing import compare_command, compare_parser, report_command, report_parser
from qtrain.commands.estimating import estimate_command, estimate_parser
from qtrain.commands.exporting import export_command, export_parser, verify_command, verify_parser
from qtrain.commands.fit import fit_command, fit_parser
from qtrain.commands.help import HELP_WORDS
from qtrain.commands.paper import reproduce_command, reproduce_parser
from qtrain.commands.parser import Parser
from qtrain.commands.quantizing import quantize_command, quantize_parser
from qtrain.commands.recipes import PRINTING, recipe_defaults, without_print
from qtrain.commands.runs import runs_command, runs_parser, watch_command, watch_parser
from qtrain.commands.status import INTERRUPTED, PIPE_CLOSED, PROOF_FAILED, WRONG_INPUT, fail
from qtrain.commands.streams import open_streams
from qtrain.commands.sweep_options import sweep_parser
from qtrain.commands.sweeping import sweep_command
from qtrain.commands.training import lr_range_command, lr_range_parser, train_command, train_parser
from qtrain.commands.voice import NO_FOLDER, VERBOSE, has_folder
from qtrain.commands.words import normalised
from qtrain.commands.zoo import lint_command, lint_parser, models_command, models_parser
from qtrain.errors import UserError, did_you_mean, is_out_of_files
from qtrain.library_warnings import ALL
from qtrain.training.progress import mute, takes_more, tell_error

# Two threads that spin while they wait cost 3 times the time on a busy machine; read when torch is imported.
_OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}

# name: what the list of commands says of it, its options, what it does
_COMMANDS = {
    "train": ("train a network", train_parser, train_command),
    "lr-range": ("find a learning rate", lr_range_parser, lr_range_command),
    "quantize": ("make a float network of your own FINN-safe", quantize_parser, quantize_command),
    "export": ("make a FINN folder of a run", export_parser, export_command),
    "verify": ("prove a FINN folder again", verify_parser, verify_command),
    "estimate": ("ask the FINN compiler", estimate_parser, estimate_command),
    "lint": ("find what FINN would refuse", lint_parser, lint_command),
    "models": ("list networks and layers", models_parser, models_command),
    "compare": ("compare schedulers", compare_parser, compare_command),
    "sweep": ("accuracy against hardware cost over bit widths", sweep_parser, sweep_command),
    "fit": ("the most accurate network that fits a board", fit_parser, fit_command),
    "reproduce": ("run the paper's tables", reproduce_parser, reproduce_command),
    "report": ("render a comparison again", report_parser, report_command),
    "runs": ("list many runs", runs_parser, runs_command),
    "watch": ("follow runs on a page", watch_parser, watch_command),
}

_ABOUT = "usage: qtrain COMMAND [OPTIONS]\n\nTrain quantized networks once, deploy them with FINN."
_MORE = """\
qtrain COMMAND --help lists the common options, --help-all every one; with a
network and data beside it, the values of their recipe. What qtrain
--print-completion bash prints lets the shell complete commands and names."""
_EXAMPLES = (
    "qtrain models",
    "qtrain train CNV_1W1A --data digits --out runs/a",
    "qtrain train CNV_1W1A --data digits --help",
    "qtrain export runs/a --board ZCU104",
    "qtrain estimate runs/a/finn",
)


def command_parsers() -> dict[str, Parser]:
    """Make the parser of every command, by its name."""
    return {name: make_parser(name) for name in _COMMANDS}


def make_parser(name: str) -> Parser:
    """Make the parser of one command."""
    parser = _COMMANDS[name][1]()
    parser.prog = f"qtrain {name}"
    return parser


def overview() -> str:
    """What ``qtrain --help`` says: the commands, a line each."""
    width = max(map(len, _COMMANDS))
    lines = [f"  {name:{width}}  {help_line}" for name, (help_line, *_) in _COMMANDS.items()]
    examples = [f"  {example}" for example in _EXAMPLES]
    return "\n".join([_ABOUT, "", "commands:", *lines, "", _MORE, "", "examples:", *examples])


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    open_streams()
    try:
        try:
            status = _run(argv)
        finally:
            sys.stdout.flush()  # a reader that left is heard of here at the latest, behind --help too
    except BrokenPipeError:  # head, or a pager that was left, has seen enough
        mute(sys.stdout)
        status = PIPE_CLOSED
    except OSError as error:
        mute(sys.stdout)
        fail(f"cannot write to standard output: {error.strerror}", WRONG_INPUT)
    sys.exit(status)


def _run(argv: Sequence[str] | None) -> int:
    """Run one command; a mistake ends it with one line and its status."""
    for name, value in _OPENMP.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=ALL)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # nvcc without a GPU is no concern of ours
    name, *words = normalised(sys.argv[1:] if argv is None else argv) or [""]
    if name in ("", "--version", *HELP_WORDS):
        print(f"qtrain {__version__}" if name == "--version" else overview())
        return 0 if name else fail(f"name a command: {', '.join(_COMMANDS)}", WRONG_INPUT)
    try:
        option, equals, shell = name.partition("=")
        if option == "--print_completion":
            print(_completion(shell if equals else "".join(words[:1])), end="")
            return 0
        if name not in _COMMANDS:
            hint = did_you_mean(name, _COMMANDS)
            raise UserError(f"unknown command {name!r}; commands are {', '.join(_COMMANDS)}{hint}")
        parser = make_parser(name)
        if set(words) & set(HELP_WORDS):
            print(_help(name, parser, words), end="")
            return 0
        *_, command = _COMMANDS[name]
        return command(parser, words, parser.parse(without_print(words) if name in PRINTING else words))
    except KeyboardInterrupt as error:
        again = error.again if isinstance(error, GoesOn) else same_command(name, words)
        fail(str(error) or "interrupted", INTERRUPTED, f"; go on with: {again}")
    except BrokenPipeError:
        raise
    except Exception as error:
        if VERBOSE in words:
            tell_error(traceback.format_exc().rstrip())
        _end(error)


def _completion(shell: str) -> str:
    """Return the script for a shell's completion."""
    from qtrain.commands.completion import completion

    return completion(shell, command_parsers(), {name: about for name, (about, *_) in _COMMANDS.items()})


def _help(name: str, parser: Parser, words: list[str]) -> str:
    """Return a command's help, with the defaults of the network and data that are named beside it."""
    defaults, whose = recipe_defaults(parser, words) if name in PRINTING else ({}, "")
    return parser.command_help.text(everything="--help_all" in words, defaults=defaults, whose=whose)


def _end(error: Exception) -> NoReturn:
    """End with one line where the error is a user's to mend, or one of a proof; else raise it again."""
    if is_out_of_files(error):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        fail(f"too many open files: this process may have {files}; allow more, as in ulimit -n 1024", WRONG_INPUT)
    if isinstance(error, OutOfStorage):
        fail(str(error), WRONG_INPUT, f"; once there is room, go on with: {error.again}")
    if isinstance(error, UserError):
        fail(str(error), WRONG_INPUT)
    if isinstance(error, MemoryError):
        fail(
            f"there is not enough memory ({error or 'no more is given'}); give smaller inputs, or more of it",
            WRONG_INPUT,
        )
    if isinstance(error, UnicodeDecodeError):  # the only file that is not ours to read is jsonargparse's
        fail(f"--config must name a text file in UTF-8: {error}", WRONG_INPUT)
    if isinstance(error, OSError):
        if not error.filename and not takes_more(sys.stdout):
            raise error  # standard output's, of which main speaks
        if not error.filename and not has_folder():
            fail(NO_FOLDER, WRONG_INPUT)
        where = error.filename or "standard output, or a file that was being written"
        fail(f"{where}: {error.strerror}" if error.strerror else str(error), WRONG_INPUT)
    from qtrain.export.errors import ProofError

    if not isinstance(error, ProofError):
        raise error
    fail(f"proof failed: {error}", PROOF_FAILED)


if __name__ == "__main__":  # python -m qtrain.cli, which else would end with 0 and have done nothing
    main()

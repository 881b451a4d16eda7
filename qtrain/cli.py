"""The command line. Exit status: 0 done, 1 comparison, lint or estimate failed, 2 wrong input, 3 proof, 130 Ctrl-C."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from qtrain.arguments import make_parser, normalised, without_print
from qtrain.commands.comparing import compare_command, report_command
from qtrain.commands.estimating import estimate_command
from qtrain.commands.exporting import export_command, verify_command
from qtrain.commands.paper import reproduce_command
from qtrain.commands.status import INTERRUPTED, PIPE_CLOSED, PROOF_FAILED, WRONG_INPUT, fail
from qtrain.commands.sweeping import sweep_command
from qtrain.commands.training import lr_range_command, train_command
from qtrain.commands.zoo import lint_command, models_command
from qtrain.errors import UserError

# Two threads that spin while they wait cost 3 times the time on a busy machine; read when torch is imported.
_OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}

_COMMANDS = {
    "train": train_command,
    "lr-range": lr_range_command,
    "export": export_command,
    "verify": verify_command,
    "estimate": estimate_command,
    "lint": lint_command,
    "models": models_command,
    "compare": compare_command,
    "sweep": sweep_command,
    "reproduce": reproduce_command,
    "report": report_command,
}

# How a command goes on that Ctrl-C has ended.
_CONTINUED = {
    "compare": "the same command",
    "reproduce": "the same command",
    "sweep": "qtrain sweep --resume and the sweep's folder",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    try:
        try:
            status = _run(argv)
        finally:
            sys.stdout.flush()  # a reader that left is heard of here at the latest, behind --help too
    except BrokenPipeError:  # head, or a pager that was left, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed
        status = PIPE_CLOSED
    sys.exit(status)


def _run(argv: Sequence[str] | None) -> int:
    """Run one command; a mistake ends it with one line and its status."""
    for name, value in _OPENMP.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"(brevitas|torch|onnx|qonnx|matplotlib)\b")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # nvcc without a GPU is no concern of ours
    words = normalised(sys.argv[1:] if argv is None else argv)
    try:
        parser = make_parser()
        if not words:
            print(parser.format_help())
            fail(f"name a command: {', '.join(_COMMANDS)}", WRONG_INPUT)
        options: Any = parser.parse_args(without_print(words))
        return _COMMANDS[options.command](parser, words, options[options.command])
    except UserError as error:
        fail(str(error), WRONG_INPUT)
    except UnicodeDecodeError as error:  # the only file that is not ours to read is jsonargparse's
        fail(f"--config must name a text file in UTF-8: {error}", WRONG_INPUT)
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{error.filename}: {error.strerror or error}" if error.filename else str(error), WRONG_INPUT)
    except KeyboardInterrupt as error:
        again = _CONTINUED.get(words[0], "qtrain train --resume and that folder")
        fail(f"{error}; continue with {again}" if str(error) else "interrupted", INTERRUPTED)
    except Exception as error:
        from qtrain.export.errors import ProofError

        if not isinstance(error, ProofError):
            raise
        fail(f"proof failed: {error}", PROOF_FAILED)

"""Commands that train one network: ``train`` and ``lr-range``."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from qtrain.commands.again import GoesOn, command_line, going_on, resume_training, same_command
from qtrain.commands.deploying import DEPLOYMENT, add_deployment, check_deployable, deploy, deployment_words
from qtrain.commands.options import RECIPES, add_log, add_machine, add_recipe, asked_target, loggers_of
from qtrain.commands.parser import Parser
from qtrain.commands.recipes import given_recipe, names_of
from qtrain.commands.voice import VERBOSE, Voice, add_voice, context_of, voice_of
from qtrain.commands.words import dashed, without
from qtrain.errors import UserError
from qtrain.records.lock import only_here
from qtrain.training.folder import LAST, check_free, folder_recipe
from qtrain.training.progress import tell

if TYPE_CHECKING:
    from qtrain.training import Result

KEPT = ("data_root", "device", "log", *DEPLOYMENT)  # may be given beside --resume, and stay when a run goes on


def train_parser() -> Parser:
    """Make the parser of ``train``."""
    parser = Parser(
        description=f"Train a network into a run folder. {RECIPES}",
        examples=(
            "qtrain train CNV_1W1A --data digits",
            "qtrain train RESNET18_4W4A --data cifar10 --epochs 50 --lr auto --out runs/a",
            "qtrain train my_net.py:Net --bits 4 --data ./flowers --image-size 48",
            "qtrain train --resume runs/a",
        ),
    )
    add_recipe(parser)
    parser.add(
        "--out",
        type=str | None,
        help="run folder to make; default runs/NETWORK-DATA-SCHEDULER-seedN",
        takes="FOLDER",
        completes="folder",
    )
    parser.add(
        "--resume",
        type=str | None,
        help="run folder to continue, by its own recipe",
        takes="FOLDER",
        completes="folder",
    )
    add_machine(parser)
    add_log(parser)
    add_deployment(parser)
    add_voice(parser)
    return parser


def lr_range_parser() -> Parser:
    """Make the parser of ``lr-range``."""
    parser = Parser(
        description="Find a learning rate to start from: train with a rate that rises on a line, watch the accuracy on "
        "held-out images, take the middle of the usable window, draw the curve. Nothing of it is kept. --lr auto in "
        "train and compare does the same with these defaults.",
        examples=("qtrain lr-range CNV_1W1A --data digits", "qtrain lr-range CNV_4W4A --data cifar10 --steps 400"),
    )
    add_recipe(parser)
    parser.add("--low", type=float, default=0.0, help="learning rate of the first step")
    parser.add("--high", type=float | None, help="of the last; default 1 for sgd and nag, 0.1 for adam and adamw")
    parser.add("--steps", type=int | None, help="at most so many; default 3 epochs, but 200 to 1000")
    parser.add("--every", type=int | None, help="steps between readings; default a fortieth of the steps", rare=True)
    parser.add(
        "--out", type=str | None, help="figure to write; default runs/lr-range-NETWORK-DATA-....png", takes="FILE"
    )
    add_machine(parser)
    add_voice(parser)
    return parser


def train_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Train a network into a run folder, or continue one; under torchrun on several processes.

    With a board the run is exported and estimated then.
    """
    target = deployment_words(options)
    if "RANK" not in os.environ:
        out, result = _train(parser, words, options, voice_of(options))
        _tell_result(out, result, has_next=not (options.quiet or target))
        return deploy(out, options) if target else 0
    if target:
        raise UserError(f"{dashed(target[0])} goes with one process; under torchrun train alone, then qtrain export")
    from qtrain.training.distributed import one_voice

    with one_voice() as ranks:
        voice = voice_of(options) if ranks.is_first else Voice(quiet=True)
        out, result = _train(parser, words, options, voice)
        if ranks.is_first:
            _tell_result(out, result, has_next=not options.quiet)
    return 0


def _tell_result(out: Path, result: "Result", has_next: bool) -> None:
    """Say what came of a run, where it is, and what comes next."""
    tell(
        f"{out}: test accuracy {result.test_accuracy:.2f} % (epoch {result.best_epoch} of {result.epochs}, "
        f"best validation {result.validation_accuracy:.2f} %), {result.seconds:.0f} s"
    )
    if has_next:
        tell(f"next: {command_line('export', out)}")


def _train(parser: Parser, words: list[str], options: Namespace, voice: Voice) -> "tuple[Path, Result]":
    """Train or continue, and return the folder and its result; until then, ``voice`` shows progress."""
    resumed = options.resume is not None
    if resumed:
        _check_resumed(words, options)
        out = Path(options.resume)
    else:
        options, recipe = given_recipe(parser, words)
        out = Path(options.out or f"runs/{names_of(recipe)}-{recipe.scheduler}-seed{recipe.seed}")
    loggers_of(options)
    together = "RANK" in os.environ  # torchrun's processes work on the folder together
    if resumed and not out.is_dir():
        folder_recipe(out)  # says that there is none
    writes = os.environ.get("RANK", "0") == "0"
    with only_here(out, say=tell) if writes else nullcontext():
        if not together and resumed:
            recipe = folder_recipe(out)
        elif not together:
            check_free(out)
        voice.loading()
        try:
            if target := asked_target(options):
                check_deployable(recipe, out, target, options)
            from qtrain.experiments.run import resume_run, train_recipe

            voice.doing(f"reading the run in {out}" if resumed else f"reading {recipe.data}")
            context = context_of(options, voice)
            with going_on(lambda: _kept(out), lambda: _again(out, words, resumed)):
                result = resume_run(out, context) if resumed else train_recipe(recipe, out, context)
        except KeyboardInterrupt as error:
            raise GoesOn(str(error), _again(out, words, resumed)) from error
    return out, result


def _again(out: Path, words: list[str], resumed: bool) -> str:
    """Return the command line that goes on with a run that has stopped."""
    saved = resumed or (out / LAST).is_file()
    return resume_training(out, words, KEPT) if saved else same_command("train", words)


def _kept(out: Path) -> str:
    """Say what is left of a run that could not write."""
    return f"the run is saved as of {out / LAST}" if (out / LAST).is_file() else "nothing of the run is left"


def _check_resumed(words: list[str], options: Namespace) -> None:
    """See that nothing is given that would change the run."""
    changing = without(words, ("resume", *KEPT))
    given = [word for word in changing if word.startswith("--") or word == options.network]
    if extra := [word for word in given if word not in ("--quiet", VERBOSE)]:
        raise UserError(f"--resume continues the folder's own recipe; leave out {dashed(', '.join(extra))}")


def lr_range_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Find a learning rate to start from, and draw the curve."""
    options, recipe = given_recipe(parser, words)
    voice_of(options).loading()
    from qtrain.experiments.lr_range import find_lr
    from qtrain.report.lr_range import check_figure, range_lines, write_range_figure

    out = Path(options.out or f"runs/lr-range-{names_of(recipe)}-{recipe.optimizer}.png")
    check_figure(out)  # before minutes of training
    numbers = {name: options[name] for name in ("low", "high", "steps", "every")}
    search = find_lr(recipe, context_of(options), **numbers)
    found = search.found.to_dict()
    for line in range_lines(found, search.seconds):
        tell(line)
    write_range_figure(found, f"{recipe.network} on {recipe.data}, {recipe.optimizer}: learning-rate range test", out)
    tell(f"{out}: the curve")
    if not options.quiet:
        rate = f"{search.found.suggestion:g}"
        given = without([word for word in words if word != VERBOSE], ("low", "high", "steps", "every", "out", "lr"))
        tell(f"next: {same_command('train', [*given, '--lr', rate])}")
    return 0

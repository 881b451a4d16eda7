"""Commands that train one network: ``train`` and ``lr-range``."""

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from jsonargparse import Namespace

from qtrain.commands.deploying import DEPLOYMENT, add_deployment, check_deployable, deploy, deployment_words
from qtrain.commands.loading import say_loading
from qtrain.commands.options import RECIPES, add_machine, add_recipe, asked_target
from qtrain.commands.parser import Parser
from qtrain.commands.recipes import given_recipe, names_of
from qtrain.commands.words import dashed
from qtrain.engines.lock import alone_in, or_refuse
from qtrain.errors import UserError
from qtrain.training.context import RunContext
from qtrain.training.folder import check_free, folder_recipe
from qtrain.training.loggers.make import DEFAULT, check_loggers, parse_loggers
from qtrain.training.progress import Silent, Terminal, tell

_WITH_RESUME = ("--resume", "--data_root", "--device", "--log", *(f"--{name}" for name in DEPLOYMENT))


def train_parser() -> Parser:
    """Make the parser of ``train``."""
    parser = Parser(description=f"Train a network into a run folder. {RECIPES}")
    add_recipe(parser)
    parser.add("--out", type=str | None, help="run folder to make; default runs/NETWORK-DATA-SCHEDULER-seedN")
    parser.add("--resume", type=str | None, help="run folder to continue, by its own recipe")
    add_machine(parser)
    parser.add(
        "--log",
        type=str,
        default=",".join(DEFAULT),
        help="who gets the records: some of tensorboard, csv, wandb, mlflow; or none",
    )
    add_deployment(parser)
    return parser


def lr_range_parser() -> Parser:
    """Make the parser of ``lr-range``."""
    parser = Parser(
        description="Find a learning rate to start from: train with a rate that rises on a line, watch the accuracy on "
        "held-out images, take the middle of the usable window, draw the curve. Nothing of it is kept. --lr auto in "
        "train and compare does the same with these defaults."
    )
    add_recipe(parser)
    parser.add("--low", type=float, default=0.0, help="learning rate of the first step")
    parser.add("--high", type=float | None, help="of the last; default 1 for sgd and nag, 0.1 for adam")
    parser.add("--steps", type=int | None, help="at most so many; default 3 epochs, but 200 to 1000")
    parser.add("--every", type=int | None, help="steps between readings; default a fortieth of the steps")
    parser.add("--out", type=str | None, help="figure to write; default runs/lr-range-NETWORK-DATA-....png")
    add_machine(parser)
    return parser


def train_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Train a network into a run folder, or continue one; under torchrun on several processes.

    With a board the run is exported and estimated then.
    """
    target = deployment_words(options)
    if "RANK" not in os.environ:
        out, line = _train(parser, words, options, talks=True)
        tell(line)
        return deploy(out, options) if target else 0
    if target:
        raise UserError(f"{dashed(target[0])} goes with one process; under torchrun train alone, then qtrain export")
    from qtrain.training.distributed import one_voice

    with one_voice() as ranks:
        _, line = _train(parser, words, options, ranks.is_first)
        if ranks.is_first:
            tell(line)
    return 0


def _train(parser: Parser, words: list[str], options: Namespace, talks: bool) -> tuple[Path, str]:
    """Do so, and return the folder and what there is to say of the result; until then, ``talks`` shows progress."""
    if options.resume is not None:
        given = [word for word in words if word.startswith("--") or word == options.network]
        extra = [w for w in given if w.partition("=")[0] not in _WITH_RESUME]
        if extra:
            raise UserError(f"--resume continues the folder's own recipe; leave out {dashed(', '.join(extra))}")
        out = Path(options.resume)
    else:
        options, recipe = given_recipe(parser, words)
        out = Path(options.out or f"runs/{names_of(recipe)}-{recipe.scheduler}-seed{recipe.seed}")
    log = parse_loggers(options.log)
    check_loggers(log)
    together = "RANK" in os.environ  # torchrun's processes work on the folder together
    with nullcontext() if together else or_refuse(alone_in(out, within=0), out):
        if not together and options.resume is not None:
            recipe = folder_recipe(out)
        elif not together:
            check_free(out)
        if talks:
            say_loading()
        if target := asked_target(options):
            check_deployable(recipe, out, target, options)
        from qtrain.experiments.run import resume_run, train_recipe

        watch = Terminal() if talks else Silent()
        context = RunContext(options.data_root, options.device, watch=watch, log=log)
        told = replace(context, say=tell) if talks else context
        result = resume_run(out, told) if options.resume is not None else train_recipe(recipe, out, told)
    return out, (
        f"{out}: test accuracy {result.test_accuracy:.2f} % (epoch {result.best_epoch} of {result.epochs}, "
        f"best validation {result.validation_accuracy:.2f} %), {result.seconds:.0f} s"
    )


def lr_range_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Find a learning rate to start from, and draw the curve."""
    options, recipe = given_recipe(parser, words)
    say_loading()
    from qtrain.experiments.lr_range import find_lr
    from qtrain.report.lr_range import check_figure, range_lines, write_range_figure

    out = Path(options.out or f"runs/lr-range-{names_of(recipe)}-{recipe.optimizer}.png")
    check_figure(out)  # before minutes of training
    numbers = {name: options[name] for name in ("low", "high", "steps", "every")}
    search = find_lr(recipe, RunContext(options.data_root, options.device, watch=Terminal()), **numbers)
    found = search.found.to_dict()
    print(*range_lines(found, search.seconds), sep="\n")
    write_range_figure(found, f"{recipe.network} on {recipe.data}, {recipe.optimizer}: learning-rate range test", out)
    print(f"{out}: the curve")
    return 0

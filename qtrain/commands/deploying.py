"""How ``train --board`` ends: with the commands that a person would type next, export and estimate."""

import shlex
from pathlib import Path

from jsonargparse import Namespace

from qtrain.commands.again import GoesOn, same_command
from qtrain.commands.estimating import estimate_command, estimate_parser
from qtrain.commands.exporting import export_command, export_parser
from qtrain.commands.options import add_part, asked_target
from qtrain.commands.parser import Parser
from qtrain.commands.voice import voice_of
from qtrain.commands.words import dashed
from qtrain.errors import UserError
from qtrain.recipe import Recipe

FINN = "finn"  # the folder in a run's own, where export puts it by default
DEPLOYMENT = ("board", "part", "resources", "target_fps", "clock_ns")  # the options


def add_deployment(parser: Parser) -> None:
    """Add what FINN shall build for, to a command that trains."""
    about = "then export for this board, prove it, and estimate it with FINN"
    parser.add("--board", type=str | None, help=about, takes="NAME", completes="board")
    add_part(parser)
    parser.add(
        "--target_fps", type=int | None, help="with --board: frames a second to fold for; default 1000", rare=True
    )
    parser.add("--clock_ns", type=float | None, help="with --board: clock period in ns; default 10", rare=True)


def deployment_words(options: Namespace) -> list[str]:
    """Return what FINN shall build for as ``export`` takes it; no words where only training was asked for.

    Raises:
        UserError: no such board or part, or a rate or a clock for none.
    """
    given = [name for name in DEPLOYMENT if options[name] is not None]
    if given and asked_target(options) is None:
        raise UserError(f"{dashed(f'--{given[0]}')} goes with --board or --part, for which a network is exported")
    return [word for name in given for word in (f"--{name}", str(options[name]))]


def check_deployable(recipe: Recipe, out: Path, target: str, options: Namespace) -> None:
    """See, before hours of training, that the network can be exported into the run's folder for ``target``.

    Raises:
        UserError: a target that is none, a FINN folder that is there already, a network that FINN would refuse.
    """
    from qtrain.data import image_shape
    from qtrain.experiments.model import model_of
    from qtrain.export import check_target, lint_network
    from qtrain.export.folder.contents import check_destination
    from qtrain.export.pipeline import check_accepted

    check_destination(out / FINN)
    folding = export_parser().parse([str(out), *deployment_words(options)])
    check_target(target, folding.target_fps, folding.clock_ns)
    shape = image_shape(recipe.data, options.data_root, recipe.data_options)
    check_accepted(
        lint_network(model_of(recipe, options.data_root), shape),
        otherwise="To train it all the same: leave --board away",
    )


def deploy(run: Path, options: Namespace) -> int:
    """Export the run and estimate its FINN folder; return the exit status of the first command that failed, else 0."""
    voice = voice_of(options)
    where = [] if options.data_root is None else ["--data_root", options.data_root]
    if voice.quiet:
        where.append("--quiet")
    steps = (
        ("export", export_parser, export_command, [str(run), *deployment_words(options), *where]),
        ("estimate", estimate_parser, estimate_command, [str(run / FINN)]),
    )
    for name, make, command, words in steps:
        voice.say(f"\n$ qtrain {name} {dashed(shlex.join(words))}")
        parser = make()
        parser.prog = f"qtrain {name}"
        try:
            if status := command(parser, words, parser.parse(words)):
                return status
        except KeyboardInterrupt as error:
            raise GoesOn(str(error), same_command(name, words)) from error
    return 0

"""``qtrain fit``: the most accurate network that fits a board at a frame rate."""

import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from qtrain.commands.again import command_line, given_of, going_on, same_command
from qtrain.commands.engine import ENGINE, add_engine, check_engine, engine_of
from qtrain.commands.options import (
    RECIPES,
    add_limits,
    add_log,
    add_machine,
    add_part,
    add_recipe,
    asked_target,
    loggers_of,
)
from qtrain.commands.parser import Parser
from qtrain.commands.recipes import given_family_recipe
from qtrain.commands.voice import add_voice, context_of, voice_of
from qtrain.commands.words import dashed, without
from qtrain.errors import UserError
from qtrain.experiments.sweep.axes import parse_widths
from qtrain.models.names import folder_name
from qtrain.recipe import Recipe
from qtrain.training.progress import tell, whoever_listens

if TYPE_CHECKING:
    from qtrain.experiments.fit.plan import FitPlan

_MACHINE = (*ENGINE, "data_root", "device", "log")
_WHERE = ("out", *_MACHINE)  # not in the recorded command: another machine repeats it
_LATER = ("hours", "rounds")  # may be others when a fit goes on
_RESUMABLE = ("resume", "quiet", "verbose", *_LATER, *_MACHINE)


def fit_parser() -> Parser:
    """Make the parser of ``fit``."""
    parser = Parser(
        description="Find the most accurate network that fits a board at a frame rate: train it at 8 bits, measure "
        "how sensitive each layer is to its bits, choose bits and folding by an exact solver, train the best few from "
        f"the 8-bit weights and let the FINN compiler judge; again while there is time. {RECIPES}",
        examples=(
            "qtrain fit CNV --data cifar10 --board Pynq-Z2 --min-fps 1000 --out best",
            "qtrain fit CNV --data digits --board Pynq-Z2 --min-fps 1000 --max-lut 20% --hours 0.5 --out best",
            "qtrain fit --run runs/eight --board ZCU104 --min-fps 5000 --out best",
            "qtrain fit --resume best --hours 4",
        ),
    )
    add_recipe(parser, "family")
    folder: dict[str, Any] = {"type": str | None, "takes": "FOLDER", "completes": "folder"}
    parser.add("--run", help="folder of a run at 8 bits to begin from, instead of training one", **folder)
    parser.add("--board", type=str | None, help="FINN's board name", takes="NAME", completes="board")
    add_part(parser)
    parser.add("--min_fps", type=int | None, help="frames a second that the network must reach")
    parser.add("--clock_ns", type=float, default=10.0, help="clock period in ns")
    add_limits(parser)
    parser.add("--hours", type=float, default=2.0, help="wall time for all of it")
    parser.add("--rounds", type=int | None, help="the most rounds; default as many as there is time for")
    parser.add("--at_once", type=int, default=3, help="networks that a round trains", rare=True)
    about = "bits that a layer may have; 8 among them"
    parser.add("--widths", type=str, default="1,2,3,4,6,8", help=about, takes="N,N", listed=True)
    parser.add("--candidate_epochs", type=int | None, help="of a network's training; default --epochs", rare=True)
    parser.add("--out", help="folder; default runs/fit-FAMILY-DATA", **folder)
    parser.add("--resume", help="folder of a fit to go on with; --hours may be others then", **folder)
    add_engine(parser, "network")
    add_machine(parser)
    add_log(parser)
    add_voice(parser)
    return parser


def fit_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Find the network, or go on finding it."""
    check_engine(options)
    loggers_of(options)
    names = [word.partition("=")[0][2:] for word in words if word.startswith("--")]
    if options.resume is not None:
        plan, out = _resumed(names, options)
    else:
        plan, out = _planned(parser, words, names, options)
    from qtrain.experiments.fit.rounds import fit
    from qtrain.records.fit import FitFile
    from qtrain.report.fit.page import print_fit, write_fit_report

    engine, connected = engine_of(options)
    again = command_line("fit", "--resume", out, *given_of(words, (*_LATER, *_MACHINE)))

    def onward() -> str:
        return again if FitFile.is_in(out) else same_command("fit", words)

    with connected, going_on(f"what is measured and trained so far is in {out}", onward):
        try:
            fit(plan, out, context_of(options), engine=engine, view=voice_of(options).view())
        except (UserError, KeyboardInterrupt):
            with suppress(UserError, OSError):  # of what there is; the reason to end is the other one
                write_fit_report(out)
            raise
        page = write_fit_report(out)
    with whoever_listens():
        print_fit(out)
    tell(f"{page}: the report; {out / 'finn'}: the winner's FINN folder")
    return 0


def _planned(parser: Parser, words: list[str], names: list[str], options: Namespace) -> "tuple[FitPlan, Path]":
    run = options.run
    if run is None and options.network is None:
        raise UserError("name a family, for instance: qtrain fit CNV --data digits --board Pynq-Z2 --min-fps 1000")
    if asked_target(options) is None:
        raise UserError("name the board to fit with --board, for instance --board Pynq-Z2")
    if options.min_fps is None:
        raise UserError("say how many frames a second the network must reach with --min-fps, for instance 1000")
    widths = parse_widths("widths", options.widths)
    if run is None:
        options, recipe = given_family_recipe(parser, words)
    else:
        recipe = _recipe_of(run, names, options)
    voice_of(options).loading()
    from qtrain.experiments.fit.plan import plan_fit
    from qtrain.experiments.sweep.limits import RESOURCES

    plan = plan_fit(
        recipe,
        asked_target(options) or "",
        options.min_fps,
        limits={name: options[name] for name in RESOURCES},
        run=run,
        clock_ns=options.clock_ns,
        min_accuracy=options.min_accuracy,
        hours=options.hours,
        rounds=options.rounds,
        at_once=options.at_once,
        widths=widths,
        candidate_epochs=options.candidate_epochs,
        command=shlex.join(["qtrain", "fit", *(dashed(word) for word in without(words, _WHERE))]),
    )
    return plan, Path(options.out or f"runs/fit-{folder_name(plan.family)}-{folder_name(recipe.data)}")


def _recipe_of(run: str, names: list[str], options: Namespace) -> Recipe:
    """Return the recipe of a run that was given, which brings all that a recipe says."""
    strange = [dashed(f"--{name}") for name in names if name in Recipe.defaults()]
    if options.network is not None:
        strange.insert(0, options.network)
    if strange:
        raise UserError(f"--run brings its network and recipe; leave out {', '.join(strange)}")
    from qtrain.training.folder import folder_recipe

    return folder_recipe(Path(run))


def _resumed(names: list[str], options: Namespace) -> "tuple[FitPlan, Path]":
    strange = [dashed(f"--{name}") for name in names if name not in _RESUMABLE]
    if options.network is not None:
        strange.insert(0, options.network)
    if strange:
        raise UserError(f"--resume goes on with the folder's own plan; leave out {', '.join(strange)}")
    voice_of(options).loading()
    from qtrain.experiments.fit.plan import read_plan

    out = Path(options.resume)
    plan = read_plan(out)
    changed = {name: options[name] for name in _LATER if name in names}
    if changed:
        plan = replace(plan, **changed)
    return plan, out

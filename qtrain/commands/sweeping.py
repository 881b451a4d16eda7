"""``qtrain sweep``: one recipe at every bit width, to a table, a page and a FINN folder for each point."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from qtrain.commands.again import GoesOn, command_line, given_of, going_on, same_command
from qtrain.commands.engine import at_a_time, check_engine, engine_of
from qtrain.commands.options import asked_target, loggers_of
from qtrain.commands.parser import Parser
from qtrain.commands.recipes import given_family_recipe
from qtrain.commands.status import SWEEP_FAILED, fail
from qtrain.commands.sweep_options import LIMITS, MACHINE, RESUMABLE, WHERE
from qtrain.commands.voice import context_of, voice_of
from qtrain.commands.words import dashed, without
from qtrain.errors import UserError
from qtrain.experiments.sweep.axes import parse_expressions, parse_widths
from qtrain.models.names import folder_name
from qtrain.recipe import Recipe
from qtrain.training.progress import tell, whoever_listens

if TYPE_CHECKING:
    from qtrain.experiments.sweep.limits import Limits
    from qtrain.experiments.sweep.plan import SweepPlan
    from qtrain.experiments.sweep.search_plan import SearchPlan


def sweep_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Run a sweep, or go on with one; status 1 where a cell failed."""
    check_engine(options)
    loggers_of(options)
    if options.resume is not None:
        _check_resumed(words, options)
        plan = None
        out = Path(options.resume)
        voice_of(options).loading()
    else:
        plan, out = _planned(parser, words, options)
    limits = _limits(plan or out, options)
    from qtrain.experiments.sweep.run import resume_sweep, sweep
    from qtrain.records.sweep import SweepFile
    from qtrain.report.sweep.page import print_sweep, write_sweep_report
    from qtrain.report.sweep.search import print_search

    voice = voice_of(options)
    engine, connected = engine_of(options)
    again = command_line("sweep", "--resume", out, *given_of(words, (*LIMITS, *MACHINE)))

    def onward() -> str:
        return again if SweepFile.is_in(out) else same_command("sweep", words)

    try:
        with connected, going_on(f"cells that have ended, and checkpoints of the others, are in {out}", onward):
            where: dict[str, Any] = {"engine": engine, "view": voice.view(), "at_a_time": at_a_time(options)}
            if plan is None:
                rows = resume_sweep(out, context_of(options), again=options.again, **where)
            else:
                rows = sweep(plan, out, context_of(options), **where)
    except KeyboardInterrupt as error:
        if not SweepFile.is_in(out):
            raise
        raise GoesOn(str(error), again) from error
    with whoever_listens():
        print_sweep(out)
        print_search(out)
    with going_on(f"all cells are in {out}", again):
        page = write_sweep_report(out)
    tell(f"{page}: the report; sweep.csv and sweep.jsonl beside it hold every cell")
    if limits is not None:
        with going_on(f"all cells are in {out}", again):
            _tell_winner(out, limits)
    if failed := [row["cell"] for row in rows if row["state"] == "failed"]:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        again = f"{command_line('sweep', '--resume', out, '--again')} tries them anew"
        fail(f"{len(failed)} of {len(rows)} cells failed: {', '.join(failed[:3])}{more}; {again}", SWEEP_FAILED)
    return 0


def _planned(parser: Parser, words: list[str], options: Namespace) -> "tuple[SweepPlan, Path]":
    if options.again:
        raise UserError("--again goes with --resume")
    network = options.network
    if network is None:
        raise UserError("name a family, for instance: qtrain sweep CNV --weight-bits 1,2,4,8 --data digits")
    options, recipe = given_family_recipe(parser, words)
    axes: dict[str, Any] = {
        "weight_bits": parse_widths("weight_bits", options.weight_bits),
        "act_bits": parse_widths("act_bits", options.act_bits),
        "expressions": parse_expressions(options.bits) if options.bits else ("",),
    }
    voice_of(options).loading()
    from qtrain.experiments.sweep.plan import plan_sweep

    plan = plan_sweep(
        network,
        recipe.replace(bits=""),
        **axes,
        seeds=options.seeds,
        warm_from=options["from"],
        board=asked_target(options),
        target_fps=options.target_fps,
        clock_ns=options.clock_ns,
        search=_search(options, recipe),
        command=shlex.join(["qtrain", "sweep", *(dashed(word) for word in without(words, WHERE))]),
    )
    return plan, Path(options.out or f"runs/sweep-{folder_name(plan.family)}-{folder_name(recipe.data)}")


def _search(options: Namespace, recipe: Recipe) -> "SearchPlan | None":
    from qtrain.experiments.sweep.search_plan import plan_search

    if options.search is not None:
        asked = (options.search_cost, options.search_epochs, options.search_pruner, options.search_from)
        return plan_search(options.search, recipe.epochs, *asked)
    for name in ("search_cost", "search_epochs", "search_pruner", "search_from"):
        if options[name] is not None:
            raise UserError(f"{dashed(f'--{name}')} goes with --search and a number of trials")
    return None


def _limits(sweep: "SweepPlan | Path", options: Namespace) -> "Limits | None":
    """Return what the winner must keep within; None where nothing was asked.

    Args:
        sweep: its plan, or the folder of one that goes on.
        options: of the command.

    Raises:
        UserError: a limit that makes no sense, or a sweep that nothing is estimated of.
    """
    if all(options[name] is None for name in LIMITS):
        return None
    from qtrain.experiments.sweep.file import read_plan
    from qtrain.experiments.sweep.limits import RESOURCES, Limits, limits_of
    from qtrain.export import get_board

    plan = read_plan(sweep) if isinstance(sweep, Path) else sweep
    if plan.target is None:
        given = [dashed(f"--{name}") for name in LIMITS if options[name] is not None]
        raise UserError(f"{', '.join(given)} need FINN's estimates; name a board with --board")
    most = limits_of(get_board(plan.target.board), {name: options[name] for name in RESOURCES})
    return Limits(most, options.min_fps, options.min_accuracy)


def _tell_winner(out: Path, limits: "Limits") -> None:
    """Choose the most accurate cell within limits, and put its FINN folder into the sweep's."""
    from qtrain.experiments.sweep.winner import deliver_winner, sweep_winner

    row = sweep_winner(out, limits)
    place = deliver_winner(out, row)
    found = row["estimate"]
    tell(
        f"{place}: the FINN folder of {row['cell']}, the most accurate within the limits: validation "
        f"{row['validation_accuracy']:.2f} %, test {row['test_accuracy']:.2f} %, {found['fps']:,.0f} frames/s in "
        f"{found['used']['LUT']:,} LUT"
    )


def _check_resumed(words: list[str], options: Namespace) -> None:
    """See that nothing is given that would change the sweep."""
    names = [word.partition("=")[0][2:] for word in words if word.startswith("--")]
    strange = [dashed(f"--{name}") for name in names if name not in RESUMABLE]
    if options.network is not None:
        strange.insert(0, options.network)
    if strange:
        raise UserError(f"--resume goes on with the folder's own plan; leave out {', '.join(strange)}")

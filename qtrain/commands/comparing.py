"""Commands that train several against each other, or show that again: ``compare`` and ``report``."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from qtrain.commands.again import going_on, same_command
from qtrain.commands.engine import add_engine, check_engine, engine_of
from qtrain.commands.options import RECIPES, add_board, add_log, add_machine, add_recipe, asked_target, loggers_of
from qtrain.commands.parser import Parser
from qtrain.commands.recipes import given_recipes, without_print
from qtrain.commands.status import COMPARISON_FAILED, fail
from qtrain.commands.voice import add_voice, context_of, voice_of
from qtrain.commands.words import names_in
from qtrain.errors import UserError
from qtrain.models.names import folder_name
from qtrain.recipe import AUTO, Recipe
from qtrain.report.comparison.verdict import TOLERANCE, Answer, OnUndecided, Verdict, passes
from qtrain.report.comparison.verdict_words import sentences
from qtrain.schedulers.catalogue import DEFAULT, SCHEDULERS
from qtrain.training.progress import tell, whoever_listens

# Options of --lr_from, and those that it does not read.
_ONLY_WITH = ("grid", "tune_seeds", "tune_lr")
_NEVER_WITH = ("challenger", "against", "tuning", "again", "board", "target_fps", "clock_ns")
_SCHEDULERS: dict[str, Any] = {"takes": "NAME,NAME", "listed": True, "completes": "scheduler"}


def compare_parser() -> Parser:
    """Make the parser of ``compare``."""
    parser = Parser(
        description="Compare ASLR with other schedules on one or several networks. Exit status 0 where it holds (the "
        "lower end of the 95 % interval of its paired difference is within the tolerance), 1 where it falls short (the "
        "upper end is beyond it, or a run of ASLR diverged), and as --undecided says where the seeds cannot tell. "
        "Several networks: CNV_1W1A,VGG11_2W2A, or families and widths as in CNV,VGG11 --bits 1,2,4,8,first=8; the "
        f"worst decides. {RECIPES}",
        examples=(
            "qtrain compare CNV_1W1A --data digits",
            "qtrain compare CNV,VGG11 --bits 1,2,4,8 --data digits --schedulers aslr,aslr_capped,multistep",
            "qtrain compare CNV --bits 1,2,3,4,6,8 --lr-from 8 --data digits --jobs 4",
        ),
    )
    add_recipe(parser, "family")
    parser.add("--schedulers", type=str, default=f"{DEFAULT},multistep", help="comma-separated", **_SCHEDULERS)
    parser.add("--seeds", type=int, default=3, help="runs a scheduler")
    parser.add(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help="points that the challenger may fall short by; the default is more than the ASLR paper's own largest "
        "shortfall (0.3) and less than the seed alone moves a baseline",
    )
    parser.add(
        "--undecided",
        type=OnUndecided | None,
        help="whether exit status is 0 (ok) or 1 (fail) where it is undecided; default ok with one seed, which never "
        "decides, else fail",
        rare=True,
    )
    parser.add(
        "--challenger",
        type=str | None,
        help=f"the scheduler that is judged; default {DEFAULT} where it takes part, else aslr or an option of it",
        takes="NAME",
        completes="scheduler",
        rare=True,
    )
    parser.add(
        "--against",
        type=str | None,
        help="comma-separated schedulers it is held against; default the recipe's baseline where it takes part, else "
        "the others tuned by hand, else all others",
        rare=True,
        **_SCHEDULERS,
    )
    parser.add(
        "--tuning",
        type=str | None,
        help="tuning runs spent before, for the record: multistep=9",
        rare=True,
        listed=True,
    )
    parser.add(
        "--lr_from",
        type=str | None,
        help="fix ONE lr0 for ASLR, found at these bits (--lr, else the range test), for all --bits; beside it the "
        "baseline tuned at each width over --grid, and the baseline tuned at these bits alone",
    )
    rates = "with --lr_from: rates to tune over"
    parser.add("--grid", type=str, default="0.1,0.03,0.01,0.003", help=rates, takes="X,X", listed=True, rare=True)
    parser.add("--tune_seeds", type=int, default=1, help="with --lr_from: runs a rate of the grid", rare=True)
    parser.add(
        "--tune_lr",
        action="store_true",
        help="with --lr_from: find ASLR's lr0 there by runs over --grid, as the baseline's, in place of the range test",
        rare=True,
    )
    parser.add("--again", action="store_true", help="train runs anew that diverged before", rare=True)
    about = "folder; default runs/compare-NETWORK-DATA; finished runs stay"
    parser.add("--out", type=str | None, help=about, takes="FOLDER", completes="folder")
    add_board(parser, None)
    add_engine(parser, "run")
    add_machine(parser)
    add_log(parser)
    add_voice(parser)
    return parser


def report_parser() -> Parser:
    """Make the parser of ``report``."""
    parser = Parser(
        description="Write a comparison's table and report again, from its records.",
        examples=("qtrain report runs/compare-CNV_1W1A-digits",),
    )
    parser.add("folder", type=str, help="folder that qtrain compare wrote", completes="folder")
    return parser


def compare_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Train schedulers against each other; the exit status is the verdict's."""
    check_engine(options)
    loggers_of(options)
    options, recipes, grid = given_recipes(parser, words)
    for given in (options.schedulers, options.challenger, options.against):
        for name in names_in(given or ""):
            SCHEDULERS.check(name)
    _check_lr_from(parser, words, options.lr_from)
    voice = voice_of(options)
    voice.loading()
    from qtrain.experiments.comparison.compare import Comparison, compare, export_cells, parse_tuning
    from qtrain.experiments.comparison.grid import compare_grid
    from qtrain.export import check_target

    if options.lr_from is not None:
        return _no_retuning(parser, words, options, recipes)
    stem = options.network.replace(",", "+").replace(" ", "") if grid else recipes[0].network
    out = Path(options.out or f"runs/compare-{folder_name(stem)}-{folder_name(recipes[0].data)}")
    options.board = asked_target(options)
    target = {name: options[name] for name in ("board", "target_fps", "clock_ns")}
    if options.board is not None:
        check_target(**target)  # before hours of training

    context = context_of(options)

    def export(comparison: Comparison) -> None:
        if options.board is not None:
            export_cells(comparison, **target, context=context)

    arguments: dict[str, Any] = {
        "schedulers": names_in(options.schedulers),
        "seeds": options.seeds,
        "tolerance": options.tolerance,
        "challenger": options.challenger,
        "against": None if options.against is None else names_in(options.against),
        "tuning": parse_tuning(options.tuning or ""),
        "again": options.again,
    }
    engine, connected = engine_of(options)
    with connected, _going_on(out, words):
        arguments |= {"engine": engine, "view": voice.view()}
        if grid:
            compare_grid(recipes, out, context, then=export, **arguments)
        else:
            export(compare(recipes[0], out, context, **arguments))
    with _going_on(out, words):
        verdicts = _show_comparison(out)
    return _status(verdicts, options.undecided)


def _check_lr_from(parser: Parser, words: list[str], lr_from: str | None) -> None:
    """See that nothing was given that the comparison at hand does not read.

    Raises:
        UserError: something was.
    """
    given = parser.given(without_print(words))
    unread = [name for name in (_ONLY_WITH if lr_from is None else _NEVER_WITH) if name in given]
    if not unread:
        return
    do, them = ("does", "it") if len(unread) == 1 else ("do", "them")
    if lr_from is None:
        raise UserError(f"{', '.join(unread)} {do} nothing without lr_from; give --lr-from BITS, or leave {them} out")
    raise UserError(f"{', '.join(unread)} {do} nothing with lr_from; leave {them} out")


def _going_on(out: Path, words: list[str]) -> AbstractContextManager[None]:
    """Inside, a full disk ends the comparison with what goes on with it."""
    kept = f"finished runs, and the last checkpoints of the others, are in {out}"
    return going_on(kept, same_command("compare", words))


def _status(verdicts: Mapping[str, Sequence[Verdict]], undecided: OnUndecided | None) -> int:
    """Return 0 where the verdicts, by network, pass; else end with a line that says which do not."""
    if passes((verdict for of_network in verdicts.values() for verdict in of_network), undecided):
        return 0
    parts = []
    for network, of_network in verdicts.items():
        if any(verdict.answer is not Answer.HOLDS for verdict in of_network):
            prefix = f"{network}: " if network else ""
            parts.append(prefix + sentences([v for v in of_network if v.answer is not Answer.HOLDS]))
    fail(" ".join(parts), COMPARISON_FAILED)


def _no_retuning(parser: Parser, words: list[str], options: Namespace, recipes: list[Recipe]) -> int:
    from qtrain.experiments.comparison.no_retuning import no_retuning
    from qtrain.experiments.comparison.no_retuning_plan import make_plan
    from qtrain.report.comparison.no_retuning import print_no_retuning, read_no_retuning

    given = parser.given(without_print(words))
    schedulers = names_in(options.schedulers) if "schedulers" in given else [DEFAULT]
    plan = make_plan(
        recipes if "lr" in given else [recipe.replace(lr=AUTO) for recipe in recipes],
        options.lr_from,
        schedulers=schedulers,
        grid=options.grid,
        tune_seeds=options.tune_seeds,
        seeds=options.seeds,
        tunes_lr=options.tune_lr,
    )
    out = Path(options.out or f"runs/no-retuning-{folder_name(plan.family)}-{folder_name(recipes[0].data)}")
    engine, connected = engine_of(options)
    with connected, _going_on(out, words):
        view = voice_of(options).view()
        no_retuning(plan, out, context_of(options), tolerance=options.tolerance, engine=engine, view=view)
    with whoever_listens():
        print(f"{out}: no_retuning.json, .md and .png")
        print_no_retuning(out)
    data = read_no_retuning(out)
    return _status({network: list(data.verdicts(network).values()) for network in data.networks}, options.undecided)


def _show_comparison(out: Path) -> dict[str, Sequence[Verdict]]:
    """Write the report of a comparison or grid, print its tables, the verdict last; return the verdicts by network."""
    from qtrain.report.comparison.grid import is_grid, print_grid, read_grid, write_grid_report
    from qtrain.report.comparison.page import write_report
    from qtrain.report.comparison.read import read_comparison
    from qtrain.report.comparison.tables import print_comparison

    if is_grid(out):
        tell(f"{write_grid_report(out)}: the report")
        with whoever_listens():
            print_grid(out)
        return {network: data.verdicts for network, data in read_grid(out).comparisons.items()}
    tell(f"{write_report(out)}: the report")
    with whoever_listens():
        print_comparison(out)
    return {"": read_comparison(out).verdicts}


def report_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Render a comparison again, from its records."""
    from qtrain.report.comparison.no_retuning import is_no_retuning, print_no_retuning

    folder = Path(options.folder)
    if is_no_retuning(folder):
        print_no_retuning(folder)
    else:
        _show_comparison(folder)
    return 0

"""The command that runs the paper's tables: ``reproduce``."""

from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from qtrain.commands.again import going_on, same_command
from qtrain.commands.engine import add_engine, check_engine, engine_of
from qtrain.commands.options import add_log, add_machine, loggers_of
from qtrain.commands.parser import Parser
from qtrain.commands.voice import add_voice, context_of, voice_of
from qtrain.commands.words import names_in
from qtrain.training.progress import tell

What = Literal["all", "table1", "table2", "table3", "table4", "figure3", "figure4", "figure5", "figure6"]


def reproduce_parser() -> Parser:
    """Make the parser of ``reproduce``."""
    parser = Parser(
        description="Run what is missing of the ASLR paper's tables until the time is up; the same command goes on, "
        "also inside a run. The page shows ours beside the paper's.",
        examples=(
            "qtrain reproduce table3 --list",
            "qtrain reproduce table3 --max-minutes 60",
            "qtrain reproduce figure3",
        ),
    )
    parser.add("what", nargs="?", type=What, default="all", help="table1..4, figure3..6, or all")
    parser.add("--max_minutes", type=float | None, help="stop after so long; default when all is done")
    parser.add("--list", action="store_true", help="print the runs and their state, and run nothing")
    parser.add("--networks", type=str | None, help="comma-separated; default all of the table", listed=True)
    parser.add("--seeds", type=int, default=3, help="runs a network and schedule")
    parser.add("--protocol", type=Literal["holdout", "paper"], default="holdout", help="paper: test set", rare=True)
    parser.add("--epochs_scale", type=float, default=1.0, help="share of the epochs; a table of its own", rare=True)
    parser.add("--width", type=float | None, help="of all networks; a table of its own", rare=True)
    parser.add("--train_size", type=int | None, help="training images; a table of its own", rare=True)
    parser.add("--rounds", type=int, default=5, help="of table2's time measurement", rare=True)
    about = "folder of the runs"
    parser.add("--out", type=str, default="runs/reproduce", help=about, takes="FOLDER", completes="folder")
    parser.add("--results", type=str, default="results/reproduce.jsonl", help="lines are added to it", takes="FILE")
    parser.add("--page", type=str, default="docs/reproduce.md", help="Markdown to write, figures beside", takes="FILE")
    add_engine(parser, "run")
    add_machine(parser)
    add_log(parser)
    add_voice(parser)
    return parser


def reproduce_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Run what is missing of the paper's tables."""
    check_engine(options)
    loggers_of(options)
    voice = voice_of(options)
    voice.loading()
    from qtrain.experiments.paper.cells import read_results
    from qtrain.experiments.paper.reproduce import list_cells, planned_rows, reproduce_tables
    from qtrain.report.paper.tables import FIGURES, write_figures, write_page

    what = options.what
    results = Path(options.results)
    page = Path(options.page)
    names = names_in(options.networks) if options.networks else []
    size = {name: options[name] for name in ("epochs_scale", "width", "train_size")}
    plan = {"networks": names, "seeds": options.seeds, "protocol": options.protocol, "out": Path(options.out), **size}
    if what not in FIGURES:
        if options.list:
            print("\n".join(list_cells(what, results, data_root=options.data_root, **plan)))
            return 0
        engine, connected = engine_of(options)
        kept = f"finished runs are in {results}, the last checkpoints of the others in {options.out}"
        with connected, going_on(kept, same_command("reproduce", words)):
            left = reproduce_tables(
                what,
                results,
                context_of(options),
                minutes=options.max_minutes,
                rounds=options.rounds,
                engine=engine,
                view=voice.view(),
                **plan,
            )
        planned = planned_rows(what, names, options.protocol)
        write_page(read_results(results), planned, page)
        tell(f"{page}: " + (f"{left} runs left; the same command goes on" if left else "nothing is left to run"))
    figures = FIGURES if what == "all" else [what] if what in FIGURES else ()
    for path in write_figures(read_results(results), page.parent, figures):
        tell(f"{path}: drawn")
    return 0

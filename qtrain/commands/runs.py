"""Commands that look at many runs: ``runs`` lists them, ``watch`` follows them on a page; torch is not needed."""

import json
from contextlib import suppress
from pathlib import Path
from threading import Event

from jsonargparse import Namespace

from qtrain.commands.parser import Parser
from qtrain.errors import UserError
from qtrain.records.lock import held_folders
from qtrain.report.runs.select import GRAMMAR, check_column, in_order, kept, parse_filter
from qtrain.training.progress import tell

MOST_PORT = 65535


def runs_parser() -> Parser:
    """Make the parser of ``runs``."""
    parser = Parser(
        description="List all runs below folders: how far they are, how good, and what is known of proof and hardware; "
        "comparisons and sweeps by their cells. It reads records alone; hidden folders and links are left out.",
        examples=(
            "qtrain runs",
            "qtrain runs runs sweeps --sort best",
            "qtrain runs --filter 'scheduler=aslr*,best>=80'",
        ),
    )
    parser.add("folders", nargs="*", type=str, help="folders to look through, all below them too; default here")
    parser.add("--sort", type=str | None, help="column to sort by, best or newest first; default the folder")
    parser.add("--reverse", action="store_true", help="turn that order around")
    parser.add("--filter", type=str | None, help=f"show some, as in 'scheduler=aslr*,best>=80': {GRAMMAR}")
    parser.add("--json", action="store_true", help="print as JSON")
    return parser


def watch_parser() -> Parser:
    """Make the parser of ``watch``."""
    parser = Parser(
        description="Follow runs on a page while they train: curves of loss, validation accuracy and learning rate, a "
        "table of the runs, the time left. The page is read only, for this machine alone, and its address is a secret "
        "of whoever is told it. Ctrl-C ends it.",
        examples=("qtrain watch runs/a", "qtrain watch runs --port 8080"),
    )
    parser.add("folder", type=str, help="a run, a comparison, a sweep, or a folder with many of them")
    parser.add("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes any that is free")
    return parser


def runs_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """List the runs below folders."""
    conditions = () if options.filter is None else parse_filter(options.filter)
    if options.sort is not None:
        check_column(options.sort, "sort")
    from qtrain.report.runs.read import Reader
    from qtrain.report.runs.scan import scan
    from qtrain.report.runs.table import print_runs
    from qtrain.report.runs.values import to_json

    trees = [scan(Path(folder)) for folder in options.folders or ["."]]
    with held_folders() as is_held:
        found = Reader(is_held).read(*trees)
    rows = in_order(kept(found.runs, conditions), options.sort, options.reverse)
    print(json.dumps(to_json(found, rows), indent=2)) if options.json else print_runs(found, rows)
    return 0


def watch_command(parser: Parser, words: list[str], options: Namespace) -> int:
    """Serve the page until Ctrl-C."""
    if not 0 <= options.port <= MOST_PORT:
        raise UserError(f"port must be 0 to {MOST_PORT}, but got {options.port}")
    from qtrain.report.watch.server import serving
    from qtrain.report.watch.state import Watched

    watched = Watched(Path(options.folder), held_folders)
    with serving(watched, options.port) as address:
        tell(f"{address}\nfollows {options.folder} on this machine alone; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            Event().wait()
    return 0

"""The runs as a table on the terminal."""

from collections.abc import Callable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtrain.errors import printable
from qtrain.report.console import plain_text, report_console
from qtrain.report.runs.read import Found
from qtrain.report.runs.row import RunRow
from qtrain.report.runs.text import amount, several_line
from qtrain.report.table import EMPTY

QUIET = (
    "running?: nobody holds the folder's lock, but its records grew within the last epoch and a half: killed just now, "
    "or on storage that knows no locks."
)
_STYLES = {"running": "bold", "running?": "bold", "failed": "red", "damaged": "red"}
_FAILED = 10  # runs whose reasons are printed
_FEWEST = 12  # columns of the terminal for what stands in the first column of a narrow table
_FLUSH_LEFT = ("state", "proof")


def print_runs(found: Found, rows: Sequence[RunRow], console: Console | None = None) -> None:
    """Print the rows, then comparisons and sweeps, then what is damaged."""
    console = console or report_console()
    if rows:
        _print_rows(rows, console)
    hidden = len(found.runs) - len(rows)
    if not found.runs:
        _say("no runs; qtrain train, compare and sweep make some", console)
    elif hidden:
        _say(f"{len(rows)} of {len(found.runs)} runs, by the filter", console)
    for several in found.several:
        if several.state and not several.why:
            _say(several_line(several), console)
    if any(row.state == "running?" for row in rows):
        _say(QUIET, console)
    failed = [row for row in rows if row.state == "failed"]
    for row in failed[:_FAILED]:
        _say(f"failed: {row.folder}: {row.why}", console, "red")
    if len(failed) > _FAILED:
        _say(f"and {len(failed) - _FAILED} more have failed; --filter state=failed --json says why", console, "red")
    for line in found.damaged:
        _say(f"damaged: {line}", console, "red")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _epochs(row: RunRow) -> str:
    return "" if row.epochs is None else f"{row.done}/{row.epochs}"


# head: what it shows of a row; words are flush left, numbers right but for two
_WORDS: dict[str, Callable[[RunRow], str]] = {
    "network": lambda row: row.network,
    "data": lambda row: row.data,
    "scheduler": lambda row: row.scheduler,
}
_NUMBERS: dict[str, Callable[[RunRow], str]] = {
    "seed": lambda row: "" if row.seed is None else str(row.seed),
    "epochs": _epochs,
    "best": lambda row: _percent(row.best),
    "state": lambda row: row.state,
    "proof": lambda row: row.proof,
    "LUT": lambda row: amount(row.lut),
    "fps": lambda row: amount(row.fps),
}


def _print_rows(rows: Sequence[RunRow], console: Console) -> None:
    """Print the table: what all rows share is said once above, what no row has is left out.

    Where the rest is too wide, the words of a run stand in a second line of its first column.
    """
    words = {head: [printable(shown(row)) for row in rows] for head, shown in _WORDS.items()}
    numbers = {head: [shown(row) for row in rows] for head, shown in _NUMBERS.items()}
    shared = {head: cells[0] for head, cells in words.items() if len(rows) > 1 and len(set(cells)) == 1}
    words = {head: cells for head, cells in words.items() if head not in shared and any(cells)}
    numbers = {head: cells for head, cells in numbers.items() if any(cells)}
    if said := ", ".join(f"{head} {cell}" for head, cell in shared.items() if cell):
        _say(f"all: {said}", console)
    folders = {"folder": [printable(row.folder) for row in rows]}
    columns = folders | words | numbers
    widths = {head: _width(head, cells) for head, cells in columns.items()}
    if sum(widths.values()) + len(widths) - 1 <= console.width:
        _print_lines(columns, widths, console)
        return
    lines = [" ".join(filter(None, cells)) for cells in zip(*words.values(), strict=True)] or [""] * len(rows)
    first = [f"{folder}\n  {line}".rstrip() for folder, line in zip(folders["folder"], lines, strict=True)]
    _print_folded(first, numbers, console)


def _print_lines(columns: Mapping[str, Sequence[str]], widths: Mapping[str, int], console: Console) -> None:
    """Print a line a run; rich's tables take a millisecond for each."""
    rule = "─" if console.encoding.lower().startswith("utf") else "-"
    _print_line({head: head for head in columns}, widths, console, "bold")
    console.print(rule * (sum(widths.values()) + len(widths) - 1), soft_wrap=True)
    for texts in zip(*columns.values(), strict=True):
        _print_line(dict(zip(columns, texts, strict=True)), widths, console)


def _print_line(texts: Mapping[str, str], widths: Mapping[str, int], console: Console, style: str = "") -> None:
    line = Text()
    for head, text in texts.items():
        shown = text or EMPTY
        fill = " " * (widths[head] - cell_len(shown))
        is_right = head in _NUMBERS and head not in _FLUSH_LEFT
        padded = f"{fill}{shown} " if is_right else f"{shown}{fill} "
        line.append_text(plain_text(padded, console, style or (_STYLES.get(shown, "") if head == "state" else "")))
    line.rstrip()
    console.print(line, soft_wrap=True)


def _print_folded(first: Sequence[str], numbers: Mapping[str, Sequence[str]], console: Console) -> None:
    """Print a table whose first column folds where it is too wide."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("folder", overflow="fold", min_width=min(_FEWEST, console.width // 4))
    for head in numbers:
        table.add_column(head, justify="left" if head in _FLUSH_LEFT else "right", no_wrap=True)
    for i, folder in enumerate(first):
        texts = [plain_text(folder, console)]
        for head, shown in numbers.items():
            style = _STYLES.get(shown[i], "") if head == "state" else ""
            texts.append(Text(shown[i] or EMPTY, style))
        table.add_row(*texts)
    console.print(table)


def _width(head: str, cells: Sequence[str]) -> int:
    return max(cell_len(head), *map(cell_len, cells))


def _say(line: str, console: Console, style: str = "") -> None:
    console.print(plain_text(printable(line), console, style), soft_wrap=not console.is_terminal)

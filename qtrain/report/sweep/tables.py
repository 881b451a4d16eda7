"""Tables of a sweep: its points, warm starts against scratch, failures; on the terminal and as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from qtrain.report.comparison.text import difference_text, interval_text
from qtrain.report.console import report_console
from qtrain.report.statistics import difference_by_seed
from qtrain.report.sweep.amounts import short
from qtrain.report.sweep.bar import BAR, BAR_NOTE, beyond_bar, marked
from qtrain.report.sweep.rows import AXES, Axis, Point, SweepData, read_sweep
from qtrain.report.table import TableData, markdown_table, print_notes, print_table

_YES = {"proven": "yes", "accepted": "yes", "failed": "no", "refused": "no"}
_NAMED = 6  # failed cells with one reason that the terminal names
_LONG = 18  # characters; longer names are footnotes on the terminal
STAR = "*"
STAR_NOTE = "* on the Pareto front of mean test accuracy against that column."


def sweep_verdict(data: SweepData) -> tuple[bool, str]:
    """Return whether every planned cell is done and none failed its proof, and the counts in a sentence."""
    done = [row for row in data.rows if row["state"] == "done"]
    proofs = [row["proven"] for row in data.rows if row["proven"] is not None]
    asked = [row["finn"] for row in data.rows if row["finn"] is not None]
    parts = [f"{len(done)} of {len(data.rows) + len(data.waiting)} cells are done"]
    if data.failed:
        parts.append(f"{len(data.failed)} failed")
    if data.pruned:
        parts.append(f"{len(data.pruned)} pruned")
    if data.waiting:
        parts.append(f"{len(data.waiting)} still to come")
    if proofs:
        parts.append(f"{sum(proofs)} of {len(proofs)} exports are proven equal to torch")
    elif data.plan.get("board"):
        parts.append("no export was reached")
    else:
        parts.append("no board was named, so no proof was asked")
    if asked:
        taken = [answer for answer in asked if answer.get("accepted")]
        parts.append(f"FINN accepts {len(taken)} of {len(asked)}")
    else:
        parts.append("FINN was not asked")
    holds = not data.failed and not data.waiting and all(proofs)
    return holds, f"{'; '.join(parts)}."


def points_table(data: SweepData) -> TableData:
    """Return one row a point: accuracy over its seeds in percent, costs, whether it is proven and FINN accepts it.

    A star behind a cost says that the point is on the Pareto front of mean test accuracy against that cost; a mark
    behind a start that the trial is beyond the search's bar.
    """
    beyond = beyond_bar(data)
    fronts = {axis.key: data.front(axis) for axis in data.axes()}
    rows = []
    for point in data.points:
        costs = []
        for axis in AXES:
            star = STAR if point in fronts.get(axis.key, ()) else ""
            costs.append(_cost_text(point, axis) + star)
        proven = _YES.get(point.proof, "")
        taken = _YES.get(point.verdict, "")
        start = marked(point.start, [row["cell"] for row in point.cells], beyond)
        rows.append((point.name, start, point_accuracy(point), *costs, proven, taken))
    costs_head = [axis.head for axis in AXES]
    head = ("network", "start", "test\naccuracy, %", *costs_head, "proven", "FINN\ntakes")
    return TableData(head, tuple(rows))


def _cost_text(point: Point, axis: Axis) -> str:
    cost = point.cost(axis)
    return "" if cost is None else short(cost)


def point_accuracy(point: Point) -> str:
    """Return mean and standard deviation in percent, and of how many seeds where some did not train."""
    mean = point.mean()
    if mean is None:
        return "pruned" if point.pruned else "failed"
    text = f"{mean:.2f}"
    spread = point.spread()
    if spread is not None:
        text += f" ± {spread:.2f}"
    trained = len(point.by_seed())
    if trained < len(point.cells):
        text += f" ({trained} of {len(point.cells)})"
    return text


def warm_table(data: SweepData) -> TableData | None:
    """Return warm-started points against those from scratch, paired by seed, in points; None without any."""
    rows = []
    for warm, scratch in data.pairs():
        difference = difference_by_seed(warm.by_seed(), scratch.by_seed())
        epochs = f"{warm.total_epochs}"
        if warm.total_epochs != scratch.total_epochs:
            epochs += f" against {scratch.total_epochs}"
        rows.append(
            (
                warm.name,
                epochs,
                point_accuracy(warm),
                point_accuracy(scratch),
                difference_text(difference),
                interval_text(difference),
            )
        )
    if not rows:
        return None
    head = (
        "network",
        "epochs\nin all",
        "warm,\naccuracy, %",
        "scratch,\naccuracy, %",
        "warm minus\nscratch, points",
        "95 %\ninterval",
    )
    return TableData(head, tuple(rows))


def failure_rows(data: SweepData) -> list[tuple[list[str], str, str]]:
    """Return failed cells by stage and reason: their names, the stage, the reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in data.failed:
        reason = row["error"]
        if row["finn"] is not None and not row["finn"].get("accepted"):
            reason = row["finn"].get("reason")  # the error names a log, each its own
        groups.setdefault((str(row["stage"]), str(reason)), []).append(row["cell"])
    return [(cells, stage, reason) for (stage, reason), cells in groups.items()]


def print_sweep(folder: Path) -> None:
    """Print the points, warm starts against scratch, failed cells and the verdict of a sweep.

    Raises:
        UserError: its files are missing or damaged.
    """
    data = read_sweep(folder)
    console = report_console()
    table, expressions = _narrow(points_table(data), data.plan["family"])
    print_table(shown_columns(table), console)
    warm = warm_table(data)
    if warm is not None:
        console.print()
        print_table(warm, console)
    notes = [STAR_NOTE, BAR_NOTE] if beyond_bar(data) else [STAR_NOTE]
    styles = dict.fromkeys([*expressions, *notes], "dim")
    for cells, stage, reason in failure_rows(data):
        names = ", ".join(cells[:_NAMED])
        if len(cells) > _NAMED:
            names += f" and {len(cells) - _NAMED} more"
        styles[f"failed at {stage}: {names}: {reason}"] = "red"
    holds, sentence = sweep_verdict(data)
    styles[sentence] = "bold green" if holds else "bold red"
    print_notes(styles, console)


def _narrow(table: TableData, family: str) -> tuple[TableData, list[str]]:
    """Return the table in 80 columns: no family, the start beside the name, long expressions of bits as footnotes."""
    numbers: dict[str, int] = {}  # of the footnotes, by expression
    rows = []
    for name, start, accuracy, *rest in table.rows:
        network, _, expression = name.removeprefix(f"{family}_").partition(" ")
        if len(f"{network} {expression}") > _LONG:
            number = numbers.setdefault(expression, len(numbers) + 1)
            expression = f"[{number}]"
        parts = [network, expression, "warm" if start == "warm" else "", BAR if BAR in start else ""]
        shown_name = " ".join(part for part in parts if part)
        mean, _, _ = accuracy.partition(" (")
        rows.append((shown_name, mean, *rest))
    head = (table.head[0], *table.head[2:])
    footnotes = [f"[{number}] {expression}" for expression, number in numbers.items()]
    return TableData(head, tuple(rows)), footnotes


def sweep_markdown(folder: Path) -> str:
    """Return the points of a sweep as a Markdown table, warm starts against scratch as a second one.

    Returns:
        The tables, with a line break at the end.

    Raises:
        UserError: its files are missing or damaged.
    """
    data = read_sweep(folder)
    tables = [_markdown(shown_columns(points_table(data)))]
    warm = warm_table(data)
    if warm is not None:
        tables.append(_markdown(warm))
    return "\n".join(tables)


def _markdown(table: TableData) -> str:
    head, *rows = ([_escaped(cell) for cell in row] for row in (table.head, *table.rows))
    return markdown_table(head, rows) + "\n"


def _escaped(cell: str) -> str:
    """Return a cell on one line, without what Markdown reads as a column's end or as emphasis."""
    return cell.replace("\n", " ").replace("|", "\\|").replace("*", "\\*")


def shown_columns(table: TableData) -> TableData:
    """Return the table without the columns that are empty in every row, as FINN's are without a compiler."""
    kept = [i for i in range(len(table.head)) if any(row[i] for row in table.rows)]

    def pick(cells: Sequence[str]) -> tuple[str, ...]:
        return tuple(cells[i] for i in kept)

    return TableData(pick(table.head), tuple(pick(row) for row in table.rows))

"""Tables of a sweep: its points, warm starts against scratch, failures; on the terminal and as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from qtrain.report.comparison.text import TableData, interval_text
from qtrain.report.statistics import paired_difference
from qtrain.report.sweep.figures import short
from qtrain.report.sweep.rows import AXES, Axis, Point, SweepData, read_sweep
from qtrain.report.tables import _console, print_notes, print_table

_YES = {"proven": "yes", "accepted": "yes", "failed": "no", "refused": "no"}
_NAMED = 6  # failed cells with one reason that the terminal names
_LONG = 18  # characters; longer names are footnotes on the terminal
STAR = "*"
STAR_NOTE = "* on the Pareto front of mean test accuracy against that column."


def sweep_verdict(data: SweepData) -> tuple[bool, str]:
    """Whether every planned cell is done and none failed its proof, and the counts in a sentence."""
    done = [row for row in data.rows if row["state"] == "done"]
    proofs = [row["proven"] for row in data.rows if row["proven"] is not None]
    asked = [row["finn"] for row in data.rows if row["finn"] is not None]
    parts = [f"{len(done)} of {len(data.rows) + len(data.waiting)} cells are done"]
    parts += [f"{len(data.failed)} failed"] * bool(data.failed)
    parts += [f"{len(data.waiting)} still to come"] * bool(data.waiting)
    none = "no export was reached" if data.plan.get("board") else "no board was named, so no proof was asked"
    parts.append(f"{sum(proofs)} of {len(proofs)} exports are proven equal to torch" if proofs else none)
    taken = sum(bool(answer.get("accepted")) for answer in asked)
    parts.append(f"FINN accepts {taken} of {len(asked)}" if asked else "FINN was not asked")
    return not data.failed and not data.waiting and all(proofs), f"{'; '.join(parts)}."


def points_table(data: SweepData) -> TableData:
    """One row a point: accuracy in percent over its seeds, costs, whether it is proven, whether FINN accepts it.

    A star behind a cost says that the point is on the Pareto front of mean test accuracy against that cost.
    """
    fronts = {axis.key: data.front(axis) for axis in data.axes()}
    rows = []
    for p in data.points:
        costs = [_amount(p, axis) + STAR * (p in fronts.get(axis.key, ())) for axis in AXES]
        rows.append((p.name, p.start, mean_text(p), *costs, _YES.get(p.proof, ""), _YES.get(p.verdict, "")))
    head = ("network", "start", "test\naccuracy, %", *(axis.head for axis in AXES), "proven", "FINN\ntakes")
    return TableData(head, tuple(rows))


def _amount(point: Point, axis: Axis) -> str:
    cost = point.cost(axis)
    return "" if cost is None else short(cost)


def mean_text(point: Point) -> str:
    """Mean and standard deviation in percent, and of how many seeds where some did not train."""
    mean, spread, trained = point.mean(), point.spread(), len(point.by_seed())
    if mean is None:
        return "failed"
    some = f" ({trained} of {len(point.cells)})" if trained < len(point.cells) else ""
    return f"{mean:.2f}{'' if spread is None else f' ± {spread:.2f}'}{some}"


def warm_table(data: SweepData) -> TableData | None:
    """Warm-started points against those from scratch; differences are paired by seed, in points."""
    rows = []
    for warm, scratch in data.pairs():
        ours, theirs = warm.by_seed(), scratch.by_seed()
        both = sorted(ours.keys() & theirs.keys())
        found = paired_difference([ours[s] for s in both], [theirs[s] for s in both]) if both else None
        epochs = f"{warm.total_epochs}"
        if warm.total_epochs != scratch.total_epochs:
            epochs += f" against {scratch.total_epochs}"
        points = "" if found is None else f"{found.mean:+.2f}"
        rows.append((warm.name, epochs, mean_text(warm), mean_text(scratch), points, interval_text(found)))
    head = ("network", "epochs\nin all", "warm,\naccuracy, %", "scratch,\naccuracy, %", "warm minus\nscratch, points")
    return TableData((*head, "95 %\ninterval"), tuple(rows)) if rows else None


def failure_rows(data: SweepData) -> list[tuple[list[str], str, str]]:
    """Failed cells by stage and reason: their names, the stage, the reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in data.failed:
        refused = row["finn"] is not None and not row["finn"].get("accepted")  # its error names a log, each its own
        reason = row["finn"].get("reason") if refused else row["error"]
        groups.setdefault((str(row["stage"]), str(reason)), []).append(row["cell"])
    return [(cells, stage, reason) for (stage, reason), cells in groups.items()]


def print_sweep(folder: Path) -> None:
    """Print the points, warm starts against scratch, failed cells and the verdict of a sweep.

    Raises:
        UserError: its files are missing or damaged.
    """
    data, console = read_sweep(folder), _console()
    table, expressions = _narrow(points_table(data), data.plan["family"])
    print_table(shown_columns(table), console)
    if (warm := warm_table(data)) is not None:
        console.print()
        print_table(warm, console)
    notes = dict.fromkeys([*expressions, STAR_NOTE], "dim")
    for cells, stage, reason in failure_rows(data):
        more = f" and {len(cells) - _NAMED} more" if len(cells) > _NAMED else ""
        notes[f"failed at {stage}: {', '.join(cells[:_NAMED])}{more}: {reason}"] = "red"
    holds, sentence = sweep_verdict(data)
    print_notes({**notes, sentence: "bold green" if holds else "bold red"}, console)


def _narrow(table: TableData, family: str) -> tuple[TableData, list[str]]:
    """The table in 80 columns: no family, the start beside the name, long expressions of bits as footnotes."""
    numbers: dict[str, int] = {}
    rows = []
    for name, start, accuracy, *rest in table.rows:
        network, _, expression = name.removeprefix(f"{family}_").partition(" ")
        if len(f"{network} {expression}") > _LONG:
            expression = f"[{numbers.setdefault(expression, len(numbers) + 1)}]"
        mark = "warm" if start == "warm" else ""
        rows.append((" ".join(filter(None, (network, expression, mark))), accuracy.partition(" (")[0], *rest))
    head = (table.head[0], *table.head[2:])
    return TableData(head, tuple(rows)), [f"[{i}] {expression}" for expression, i in numbers.items()]


def sweep_markdown(folder: Path) -> str:
    """The points of a sweep as a Markdown table, warm starts against scratch as a second one; ends with a line break.

    Raises:
        UserError: its files are missing or damaged.
    """
    data = read_sweep(folder)
    tables = [shown_columns(points_table(data)), warm_table(data)]
    return "\n".join(_markdown_table(table) for table in tables if table is not None)


def _markdown_table(table: TableData) -> str:
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return "".join(f"| {' | '.join(_markdown(cell) for cell in line)} |\n" for line in lines)


def _markdown(cell: str) -> str:
    return cell.replace("\n", " ").replace("|", "\\|").replace("*", "\\*")


def shown_columns(table: TableData) -> TableData:
    """Without the columns that are empty in every row, as FINN's are without a compiler."""
    kept = [i for i in range(len(table.head)) if any(row[i] for row in table.rows)]

    def pick(cells: Sequence[str]) -> tuple[str, ...]:
        return tuple(cells[i] for i in kept)

    return TableData(pick(table.head), tuple(pick(row) for row in table.rows))

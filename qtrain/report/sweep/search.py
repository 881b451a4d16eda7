"""What a search for per-layer bits found: its Pareto front of validation accuracy against the cost it was given."""

from pathlib import Path

from qtrain.report.comparison.text import TableData
from qtrain.report.sweep.figures import short
from qtrain.report.sweep.pareto import pareto_front
from qtrain.report.sweep.rows import AXES, STARTS, Row, SweepData, read_sweep
from qtrain.report.tables import _console, print_notes, print_table


def print_search(folder: Path) -> None:
    """Print the front of a sweep's search, and how many of its trials trained; nothing where there was no search.

    Raises:
        UserError: its files are missing or damaged.
    """
    data = read_sweep(folder)
    if not data.plan.get("search"):
        return
    console = _console()
    print_table(front_table(data), console)
    print_notes({search_sentence(data): "bold"}, console)


def search_front(data: SweepData) -> list[Row]:
    """The cells of the search's seed that no other beats in both validation accuracy and cost, cheapest first."""
    axis = next(axis for axis in AXES if axis.key == data.plan["search"]["cost"])
    rows = [row for row in data.rows if row["state"] == "done" and row["seed"] == data.plan["seeds"][0]]
    return [rows[i] for i in pareto_front([axis.of(row) for row in rows], [row["validation_accuracy"] for row in rows])]


def front_table(data: SweepData) -> TableData:
    """The front: network and expression, start, epochs with its ancestors', cost, validation accuracy in percent."""
    axis = next(axis for axis in AXES if axis.key == data.plan["search"]["cost"])
    rows = []
    for row in search_front(data):
        network = row["network"].removeprefix(f"{data.plan['family']}_")
        name = f"{network} {row['bits'].replace(',', ', ')}".rstrip()
        numbers = f"{row['total_epochs']}", short(axis.of(row) or 0.0), f"{row['validation_accuracy']:.2f}"
        rows.append((name, STARTS[row["start"]], *numbers))
    return TableData(("network", "start", "epochs\nin all", axis.head, "validation\naccuracy, %"), tuple(rows))


def search_sentence(data: SweepData) -> str:
    """How many trials were asked for and trained, and how many are on the front."""
    wanted, front = data.plan["search"], search_front(data)
    trials = [row for row in data.rows if row["start"] == "search"]
    done, found = (sum(row["state"] == "done" and row["start"] == "search" for row in rows) for rows in (trials, front))
    ended_early = not data.waiting and len(trials) < wanted["trials"]
    few = f" ({len(trials)} planned: no other network was found)" if ended_early else ""
    return (
        f"Search: {done} of {wanted['trials']} trials are done{few}. Above is the Pareto front of validation accuracy "
        f"against {wanted['cost'].upper().replace('BOPS', 'BOPs')}: {found} of its {len(front)} cells came of trials."
    )

"""What a search for per-layer bits found: its Pareto front of validation accuracy against the cost it was given."""

from pathlib import Path

from qtrain.report.console import report_console
from qtrain.report.sweep.amounts import short
from qtrain.report.sweep.bar import BAR, beyond_bar, marked, search_axis, search_rows
from qtrain.report.sweep.pareto import pareto_front
from qtrain.report.sweep.rows import STARTS, Row, SweepData, read_sweep
from qtrain.report.table import TableData, print_notes, print_table

SENSITIVITY = "sensitivity"


def print_search(folder: Path) -> None:
    """Print the front of a sweep's search, and how many of its trials trained; nothing where there was no search.

    Raises:
        UserError: its files are missing or damaged.
    """
    data = read_sweep(folder)
    if not data.plan.get("search"):
        return
    console = report_console()
    print_table(front_table(data), console)
    print_notes({search_sentence(data): "bold"}, console)


def search_front(data: SweepData) -> list[Row]:
    """Return the cells of the search's seed that none beats in both validation accuracy and cost, cheapest first."""
    axis = search_axis(data)
    rows = search_rows(data)
    costs = [axis.of(row) for row in rows]
    accuracies = [row["validation_accuracy"] for row in rows]
    return [rows[i] for i in pareto_front(costs, accuracies)]


def front_table(data: SweepData) -> TableData:
    """Return the front: network, start, epochs with its ancestors', cost, validation accuracy in percent.

    A trial that is beyond the front of the sweep's own cells has a mark behind its start.
    """
    axis = search_axis(data)
    beyond = beyond_bar(data)
    proposed = _proposed(data)
    rows = []
    for row in search_front(data):
        network = row["network"].removeprefix(f"{data.plan['family']}_")
        bits = row["bits"].replace(",", ", ")
        rows.append(
            (
                f"{network} {bits}".rstrip(),
                marked(SENSITIVITY if row["cell"] in proposed else STARTS[row["start"]], [row["cell"]], beyond),
                f"{row['total_epochs']}",
                short(axis.of(row) or 0.0),
                f"{row['validation_accuracy']:.2f}",
            )
        )
    return TableData(("network", "start", "epochs\nin all", axis.head, "validation\naccuracy, %"), tuple(rows))


def search_sentence(data: SweepData) -> str:
    """Return how many trials were asked for and trained, and how many are on the front."""
    wanted = data.plan["search"]
    front = search_front(data)
    trials = [row for row in data.rows if row["start"] == "search"]
    done = [row for row in trials if row["state"] == "done"]
    on_front = [row for row in front if row["start"] == "search"]
    pruned = ""
    if data.pruned:
        pruned = f", {len(data.pruned)} {'was' if len(data.pruned) == 1 else 'were'} pruned"
    few = ""
    if not data.waiting and len(trials) < wanted["trials"]:
        few = f" ({len(trials)} planned: no other network was found)"
    by_whom = ""
    if names := _proposed(data):
        by_whom = f", of the {len(names)} that the sensitivities proposed {len(names & beyond_bar(data))}"
    cost = wanted["cost"].upper().replace("BOPS", "BOPs")
    return (
        f"Search: {len(done)} of {wanted['trials']} trials are done{pruned}{few}. Above is the Pareto front of "
        f"validation accuracy against {cost}: {len(on_front)} of its {len(front)} cells came of trials. "
        f"{len(beyond_bar(data))} of the trials lie beyond the front of the sweep's own cells ({BAR}){by_whom}."
    )


def _proposed(data: SweepData) -> set[str]:
    """Return the names of the trials that the sensitivities proposed."""
    return {trial["name"] for trial in data.plan.get("trials", ()) if trial.get("proposal")}

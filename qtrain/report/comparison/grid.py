"""A grid of comparisons, networks x bit widths: one summary on the terminal and as a page with links."""

import base64
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qtrain.records.comparison import GridFile
from qtrain.records.files import write_whole
from qtrain.report.colours import colours_of, looks_of
from qtrain.report.comparison.describe import (
    CAPTIONS,
    KINDS,
    accuracy_seen,
    bits_words,
    count_word,
    curve_facts,
    differences_seen,
    page_words,
    split_name,
)
from qtrain.report.comparison.page import (
    PICTURES,
    REPORT,
    machine_facts,
    rebuild_command,
    recipe_facts,
    write_report,
)
from qtrain.report.comparison.page_data import differs, page_data
from qtrain.report.comparison.read import ComparisonData, read_comparison
from qtrain.report.comparison.text import (
    accuracy_text,
    difference_text,
    failure_notes,
    interval_text,
    seeds_note,
    tuned_note,
)
from qtrain.report.comparison.verdict import Answer, worst
from qtrain.report.comparison.verdict_words import CLASSES, STYLES, further_text, tally, words_line
from qtrain.report.console import report_console
from qtrain.report.pages import fill_page, plotly, png_of, script_json
from qtrain.report.statistics import deviation
from qtrain.report.style import GRID_LINES, INK, open_frame, padded_layout, write_title
from qtrain.report.table import TableData, print_notes, print_table
from qtrain.schedulers.catalogue import label_of, row_of

PICTURE = "accuracy_by_bits"
FURTHER_NOTE = "Further seeds: so many more would decide if mean and spread of the differences stayed as they are."


@dataclass(frozen=True)
class GridData:
    """The finished comparisons of a grid.

    Attributes:
        name: of its folder.
        comparisons: by network.
        missing: networks that are still to come.
    """

    name: str
    comparisons: dict[str, ComparisonData]
    missing: tuple[str, ...]

    @property
    def answer(self) -> Answer:
        """The answer of all networks together; undecided at best where some are still to come."""
        answers = [data.answer for data in self.comparisons.values()]
        return worst(answers, complete=not self.missing)

    @property
    def first(self) -> ComparisonData:
        """The first network's comparison; challenger and tolerance are those of all."""
        return next(iter(self.comparisons.values()))

    @property
    def schedulers(self) -> list[str]:
        """The schedulers of all networks, each once."""
        found: dict[str, None] = {}
        for data in self.comparisons.values():
            found |= dict.fromkeys(data.schedulers)
        return list(found)


def is_grid(folder: Path) -> bool:
    """Return whether ``folder`` holds a grid rather than one comparison."""
    return GridFile.is_in(folder)


def read_grid(folder: Path) -> GridData:
    """Read a folder that ``qtrain compare`` wrote for several networks.

    Raises:
        UserError: a file is missing, damaged or of another format.
    """
    found = GridFile.read(folder)
    comparisons = {name: read_comparison(folder / name) for name in found.networks}
    missing = tuple(name for name in found.planned if name not in found.networks)
    return GridData(folder.resolve().name, comparisons, missing)


def summary_table(grid: GridData) -> TableData:
    """Return one row a network and scheduler; a network's name stands in its first row alone."""
    head = (
        "network",
        "scheduler",
        "test\naccuracy, %",
        f"{label_of(grid.first.challenger)} minus\nit, points",
        "95 %\ninterval",
        "verdict",
        "further\nseeds",
    )
    rows = []
    for network, data in grid.comparisons.items():
        name = network
        for scheduler in data.schedulers:
            rows.append((name, *_summary_row(data, scheduler)))
            name = ""
    return TableData(head, tuple(rows))


def _summary_row(data: ComparisonData, scheduler: str) -> tuple[str, ...]:
    """Return the scheduler with its numbers; without a verdict where nothing is judged by it."""
    difference = None
    if scheduler != data.challenger:
        difference = data.difference(scheduler)
    answer = ""
    further = ""
    for verdict in data.verdicts:
        if verdict.baseline == scheduler:
            answer = str(verdict.answer)
            further = further_text(verdict)
    accuracy = accuracy_text(data, scheduler)
    return (scheduler, accuracy, difference_text(difference), interval_text(difference), answer, further)


def grid_verdict(grid: GridData) -> tuple[Answer, str]:
    """Return whether the challenger holds on every network, and the sentence that says so."""
    answers = {network: data.answer for network, data in grid.comparisons.items()}
    counts = tally(answers, "on networks")
    tolerance = f"the tolerance is {grid.first.tolerance:g} points"
    waiting = f"; {', '.join(grid.missing)} still to come" if grid.missing else ""
    return grid.answer, f"{label_of(grid.first.challenger)} {counts}; {tolerance}{waiting}."


def grid_notes(grid: GridData) -> list[str]:
    """Return the sentences below the table, each once."""
    shared: dict[str, None] = {}
    failed = []
    for network, data in grid.comparisons.items():
        shared |= dict.fromkeys([seeds_note(data), tuned_note(data)])
        failed += [f"{network}: {note}" for note in failure_notes(data)]
    return [*shared, FURTHER_NOTE, *failed]


def grid_words(grid: GridData) -> list[str]:
    """Return what the words of the verdict mean, a line for each tolerance."""
    tolerances = dict.fromkeys(data.tolerance for data in grid.comparisons.values())
    return [words_line(tolerance) for tolerance in tolerances]


def print_grid(folder: Path) -> None:
    """Print the summary of a grid, what it says, and the verdict last.

    Raises:
        UserError: its files are missing or damaged.
    """
    grid = read_grid(folder)
    console = report_console()
    print_table(summary_table(grid), console, left=2)
    styles = dict.fromkeys([*grid_notes(grid), *grid_words(grid)], "dim")
    answer, sentence = grid_verdict(grid)
    print_notes({**styles, sentence: STYLES[answer]}, console)


def write_grid_report(folder: Path) -> Path:
    """Write every network's own report and one page with the summary, the figure and links to them.

    Returns:
        The page's path.

    Raises:
        UserError: a file is missing or damaged.
    """
    grid = read_grid(folder)
    png = png_of(accuracy_by_bits(grid))
    page = _render(grid, png)
    for network in grid.comparisons:
        write_report(folder / network)
    (folder / PICTURES).mkdir(exist_ok=True)
    write_whole(folder / PICTURES / f"{PICTURE}.png", png)
    write_whole(folder / REPORT, page.encode())
    return folder / REPORT


def _render(grid: GridData, png: bytes) -> str:
    """Return the page, given its still figure."""
    answer, sentence = grid_verdict(grid)
    comparisons = list(grid.comparisons.values())
    looks = looks_of(grid.schedulers)
    seeds = sorted({seed for data in comparisons for seed in data.seeds})
    return fill_page(
        "comparison/grid.html",
        colours_of(grid.schedulers),
        title=f"{label_of(grid.first.challenger)} on {', '.join(grid.comparisons)}",
        lead=_lead(grid),
        state=CLASSES[answer],
        verdict=sentence,
        words=[*page_words(len(seeds)), *grid_words(grid)],
        table=_whole_rows(summary_table(grid)),
        links={network: f"{network}/{REPORT}" for network in grid.comparisons},
        looks=looks,
        seeds=seeds,
        challenger=label_of(grid.first.challenger),
        curves={kind: curve_facts(grid.first, kind) for kind in KINDS},
        texts={"accuracy": accuracy_seen(comparisons), "differences": differences_seen(comparisons)},
        captions=CAPTIONS,
        differences=differs(comparisons),
        notes=grid_notes(grid),
        caption=f"{CAPTIONS['accuracy']} Diverged runs are left out.",
        png=base64.b64encode(png).decode(),
        recipe=recipe_facts(comparisons),
        machine=machine_facts([run for data in comparisons for run in data.runs]),
        command=rebuild_command(comparisons, grid.name),
        data=script_json(page_data(comparisons, looks)),
        plotly=plotly(),
    )


def _lead(grid: GridData) -> str:
    """Return what was compared and how it came out, in one sentence."""
    networks = ", ".join(grid.comparisons)
    sets = ", ".join(dict.fromkeys(str(data.recipe.get("data")) for data in grid.comparisons.values()))
    meaning = bits_words(next(iter(grid.comparisons)))
    example = f" ({meaning})" if meaning else ""
    runs = "1 run" if len(grid.first.seeds) == 1 else f"{len(grid.first.seeds)} runs"
    return (
        f"{count_word(len(grid.schedulers))} schedulers, rules that set the learning rate (how large a step of "
        f"training is), trained each of {networks}{example} on {sets}, {runs} each. "
        f"{label_of(grid.first.challenger)} is judged: {_differences_range(grid)}."
    )


def _differences_range(grid: GridData) -> str:
    """Return the least and the largest mean difference of the judged scheduler, over networks and baselines."""
    found = []
    for network, data in grid.comparisons.items():
        for verdict in data.verdicts:
            if verdict.difference is not None:
                found.append((verdict.difference.mean, f"{verdict.baseline} on {network}"))
    if not found:
        return "no pair of runs finished"
    low = min(found)
    high = max(found)
    if low == high:
        return f"its test accuracy is {low[0]:+.2f} points from that of {low[1]}"
    return f"its test accuracy is from {low[0]:+.2f} points ({low[1]}) to {high[0]:+.2f} points ({high[1]}) from theirs"


def _whole_rows(table: TableData) -> TableData:
    """Return the table with the network's name in every row, as rows that a reader sorts need it."""
    rows = []
    name = ""
    for row in table.rows:
        name = row[0] or name
        rows.append((name, *row[1:]))
    return TableData(table.head, tuple(rows))


def accuracy_by_bits(grid: GridData) -> Figure:
    """Draw one panel a family: mean test accuracy and deviation of every scheduler against the bit width."""
    families: dict[str, dict[str, ComparisonData]] = {}
    for network, data in grid.comparisons.items():
        family, bits = split_name(network)
        families.setdefault(family, {})[bits] = data
    figure = Figure(figsize=(5.4 * len(families) + 1.2, 4.2), layout=padded_layout())
    panels = figure.subplots(1, len(families), squeeze=False)[0]
    for axes, (family, by_bits) in zip(panels, families.items(), strict=True):
        _draw_family(axes, family, by_bits, grid.schedulers)
    last = panels[-1]
    last.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))  # beside the panel
    return figure


def _draw_family(axes: Axes, family: str, by_bits: dict[str, ComparisonData], schedulers: list[str]) -> None:
    for i, scheduler in enumerate(schedulers):
        shift = 0.24 * (i / max(1, len(schedulers) - 1) - 0.5)  # so that bars of one width stand beside each other
        _draw_scheduler(axes, scheduler, by_bits, shift)
    axes.set_xticks(range(len(by_bits)), [_bits_label(bits) for bits in by_bits])
    axes.set_xlim(-0.4, len(by_bits) - 0.6)
    axes.set_xlabel("bits of weights and activations", color=INK)
    write_title(axes, f"{family}: test accuracy, %")
    axes.grid(True, axis="y", color=GRID_LINES, lw=0.8)
    axes.set_axisbelow(True)
    open_frame(axes)


def _draw_scheduler(axes: Axes, scheduler: str, by_bits: dict[str, ComparisonData], shift: float) -> None:
    """Draw a scheduler's mean and deviation at every bit width, ``shift`` beside the width's place."""
    places = []
    means = []
    deviations = []
    for x, data in enumerate(by_bits.values()):
        values = data.accuracies(scheduler)
        if values:
            places.append(x + shift)
            means.append(statistics.mean(values))
            deviations.append(deviation(values) or 0.0)
    row = row_of(scheduler)
    look: dict[str, Any] = {"color": row.colour, "ls": row.dashes, "marker": row.marker, "capsize": 3}
    axes.errorbar(places, means, deviations, label=scheduler, **look)


def _bits_label(bits: str) -> str:
    """Return ``4`` for 4W4A, and other bits as they are."""
    match = re.fullmatch(r"(\d+)W(\d+)A", bits)
    if match and match[1] == match[2]:
        return match[1]
    return bits

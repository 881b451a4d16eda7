"""A grid of comparisons, networks x bit widths: one summary on the terminal and as a page with links."""

import base64
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from qtrain.records.comparison import GridFile
from qtrain.records.files import write_whole
from qtrain.report.comparison.figures import GRID, INK, PAD
from qtrain.report.comparison.page import PICTURES, REPORT, write_report
from qtrain.report.comparison.read import ComparisonData, read_comparison
from qtrain.report.comparison.text import (
    TableData,
    accuracy_text,
    failure_notes,
    interval_text,
    seeds_note,
    tuned_note,
)
from qtrain.report.comparison.verdict import Answer, Verdict, worst
from qtrain.report.comparison.verdict_words import CLASSES, STYLES, further_text, tally, words_line
from qtrain.report.pages import fill_page, png_of
from qtrain.report.statistics import deviation
from qtrain.report.tables import _console, print_notes, print_table
from qtrain.schedulers.catalogue import label_of, row_of

PICTURE = "accuracy_by_bits"
_NAME = re.compile(r"(?P<family>.+)_(?P<bits>\d+W\d+A|FLOAT)")
FURTHER_NOTE = "Further seeds: so many more would decide if mean and spread of the differences stayed as they are."
_CAPTION = "Test accuracy by bit width: mean over seeds, bars are one standard deviation. Diverged runs are left out."


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
        """Of all networks together; undecided at best where some are still to come."""
        return worst((data.answer for data in self.comparisons.values()), complete=not self.missing)

    @property
    def schedulers(self) -> list[str]:
        """Of all networks."""
        return list(dict.fromkeys(s for d in self.comparisons.values() for s in d.schedulers))


def is_grid(folder: Path) -> bool:
    """Whether ``folder`` holds a grid rather than one comparison."""
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
    """One row a network and scheduler; a network's name stands in its first row alone."""
    first = next(iter(grid.comparisons.values()))
    head = ("network", "scheduler", "test\naccuracy, %", f"{label_of(first.challenger)} minus\nit, points")
    rows = []
    for network, data in grid.comparisons.items():
        verdicts = {verdict.baseline: verdict for verdict in data.verdicts}
        for i, scheduler in enumerate(data.schedulers):
            found = None if scheduler == data.challenger else data.difference(scheduler)
            points = "" if found is None else f"{found.mean:+.2f}"
            name = "" if i else network
            judged = _verdict_cells(verdicts.get(scheduler))
            rows.append((name, scheduler, accuracy_text(data, scheduler), points, interval_text(found), *judged))
    return TableData((*head, "95 %\ninterval", "verdict", "further\nseeds"), tuple(rows))


def _verdict_cells(verdict: Verdict | None) -> tuple[str, str]:
    """The answer and the further seeds that would decide; both empty for a scheduler that nothing is judged by."""
    return ("", "") if verdict is None else (str(verdict.answer), further_text(verdict))


def grid_verdict(grid: GridData) -> tuple[Answer, str]:
    """Whether the challenger holds on every network, and the sentence that says so."""
    data = next(iter(grid.comparisons.values()))
    answers = {network: found.answer for network, found in grid.comparisons.items()}
    rest = f"; {', '.join(grid.missing)} still to come" if grid.missing else ""
    counts = tally(answers, "on networks")
    return grid.answer, f"{label_of(data.challenger)} {counts}; the tolerance is {data.tolerance:g} points{rest}."


def grid_notes(grid: GridData) -> list[str]:
    """The sentences below the table, each once."""
    said = [note for d in grid.comparisons.values() for note in (seeds_note(d), tuned_note(d))]
    failed = [f"{network}: {note}" for network, d in grid.comparisons.items() for note in failure_notes(d)]
    return [*dict.fromkeys(said), FURTHER_NOTE, *failed]


def grid_words(grid: GridData) -> list[str]:
    """What the words of the verdict mean, a line for each tolerance."""
    return [words_line(tolerance) for tolerance in dict.fromkeys(d.tolerance for d in grid.comparisons.values())]


def print_grid(folder: Path) -> None:
    """Print the summary of a grid, what it says, and the verdict last.

    Raises:
        UserError: its files are missing or damaged.
    """
    grid, console = read_grid(folder), _console()
    print_table(summary_table(grid), console, left=2)
    answer, sentence = grid_verdict(grid)
    said = [*grid_notes(grid), *grid_words(grid)]
    print_notes({**dict.fromkeys(said, "dim"), sentence: STYLES[answer]}, console)


def write_grid_report(folder: Path) -> Path:
    """Write every network's own report and one page with the summary, the figure and links to them.

    Returns:
        The page's path.

    Raises:
        UserError: a file is missing or damaged.
    """
    grid = read_grid(folder)
    png = png_of(accuracy_by_bits(grid))
    answer, sentence = grid_verdict(grid)
    page = fill_page(
        "comparison/grid.html",
        title=f"{label_of(next(iter(grid.comparisons.values())).challenger)} on {', '.join(grid.comparisons)}",
        state=CLASSES[answer],
        verdict=sentence,
        words=grid_words(grid),
        table=summary_table(grid),
        links={network: f"{network}/{REPORT}" for network in grid.comparisons},
        colours={s: row_of(s).colour for s in grid.schedulers},
        notes=grid_notes(grid),
        caption=_CAPTION,
        png=base64.b64encode(png).decode(),
    )
    for network in grid.comparisons:
        write_report(folder / network)
    (folder / PICTURES).mkdir(exist_ok=True)
    write_whole(folder / PICTURES / f"{PICTURE}.png", png)
    write_whole(folder / REPORT, page.encode())
    return folder / REPORT


def accuracy_by_bits(grid: GridData) -> Figure:
    """One panel a family: mean test accuracy and deviation of every scheduler against the bit width."""
    families: dict[str, dict[str, ComparisonData]] = {}
    for network, data in grid.comparisons.items():
        match = _NAME.fullmatch(network)
        family, bits = (match["family"], match["bits"]) if match else (network, "")
        families.setdefault(family, {})[bits] = data
    figure = Figure(figsize=(5.4 * len(families) + 1.2, 4.2), layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))
    for axes, (family, by_bits) in zip(
        figure.subplots(1, len(families), squeeze=False)[0], families.items(), strict=True
    ):
        _draw_family(axes, family, by_bits, grid.schedulers)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))  # beside the last panel
    return figure


def _draw_family(axes: Axes, family: str, by_bits: dict[str, ComparisonData], schedulers: Sequence[str]) -> None:
    for k, scheduler in enumerate(schedulers):
        shift = 0.24 * (k / max(1, len(schedulers) - 1) - 0.5)  # so that bars of one width stand beside each other
        found = [(x + shift, d.accuracies(scheduler)) for x, d in enumerate(by_bits.values()) if d.of(scheduler)]
        means = [statistics.mean(values) for _, values in found]
        deviations = [deviation(values) or 0.0 for _, values in found]
        row = row_of(scheduler)
        look: dict[str, Any] = {"color": row.colour, "ls": row.dashes, "marker": "o", "capsize": 3, "label": scheduler}
        axes.errorbar([x for x, _ in found], means, deviations, **look)
    axes.set_xticks(range(len(by_bits)), [_bits_label(bits) for bits in by_bits])
    axes.set_xlim(-0.4, len(by_bits) - 0.6)
    axes.set_xlabel("bits of weights and activations", color=INK)
    axes.set_title(f"{family}: test accuracy, %", loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.grid(True, axis="y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _bits_label(bits: str) -> str:
    """``4`` for 4W4A."""
    match = re.fullmatch(r"(\d+)W(\d+)A", bits)
    return match[1] if match and match[1] == match[2] else bits

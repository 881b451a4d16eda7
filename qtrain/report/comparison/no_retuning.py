"""The no-retuning experiment's table and plot, from ``no_retuning.json`` alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qtrain.records.files import write_whole
from qtrain.records.no_retuning import CARRIED, TUNED, NoRetuningFile
from qtrain.report.comparison.text import DIVERGED, difference_text, interval_text, mean_text
from qtrain.report.comparison.verdict import Answer, Verdict, judge_each, worst
from qtrain.report.comparison.verdict_words import STYLES, further_text, tally, words_line
from qtrain.report.console import report_console
from qtrain.report.pages import png_of
from qtrain.report.statistics import Difference, deviation, difference_by_seed
from qtrain.report.style import FAINT, GRID_LINES, SIZE, open_frame, padded_layout
from qtrain.report.table import TableData, markdown_table, print_notes
from qtrain.schedulers.catalogue import label_of, row_of

TABLE = "no_retuning.md"
PLOT = "no_retuning.png"


@dataclass(frozen=True)
class Experiment:
    """The no-retuning experiment, as ``no_retuning.json`` holds it, by row.

    Attributes:
        file: all of it.
        rows: accuracies in percent by row ("aslr", "tuned", "carried"), network and seed; diverged runs are absent.
    """

    file: NoRetuningFile
    rows: dict[str, dict[str, dict[int, float]]]

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks, one a bit width."""
        return tuple(width.network for width in self.file.widths)

    @property
    def schedulers(self) -> tuple[str, ...]:
        """The schedulers of ASLR's family."""
        return self.file.schedulers

    def rate(self, row: str, network: str) -> float:
        """Return the learning rate of a row at one width."""
        return next(width.rows[row].lr for width in self.file.widths if width.network == network)

    def accuracies(self, row: str, network: str) -> list[float]:
        """Return test accuracies of a row at one width in percent, in the order of the seeds."""
        by_seed = self.rows[row][network]
        return [by_seed[seed] for seed in sorted(by_seed)]

    def difference(self, row: str, other: str, network: str) -> Difference | None:
        """Return ``row`` minus ``other``, paired by seed; None where no seed has both."""
        return difference_by_seed(self.rows[row][network], self.rows[other][network])

    def verdicts(self, network: str) -> dict[str, Verdict]:
        """Judge each scheduler against the tuned baseline, always from the accuracies: older files have no verdict."""
        tuned = f"the tuned {self.file.baseline}"
        accuracies = {name: self.rows[name][network] for name in self.schedulers}
        accuracies[tuned] = self.rows[TUNED][network]
        return judge_each(self.schedulers, accuracies, tuned, self.file.seeds, self.file.tolerance)

    @property
    def answer(self) -> Answer:
        """The answer of all schedulers and widths together."""
        answers = []
        for network in self.networks:
            answers += [verdict.answer for verdict in self.verdicts(network).values()]
        return worst(answers)

    def label(self, row: str) -> str:
        """Return a row's title with what its numbers cost."""
        runs = self.file.spent[row].runs
        cost = "1 tuning run" if runs == 1 else f"{runs} tuning runs"
        return f"{self.title(row)} ({cost})"

    def title(self, row: str) -> str:
        """Return what a row trained with, and at which widths its numbers were chosen."""
        if row == TUNED:
            return f"{self.file.baseline}, tuned at each width"
        if row == CARRIED:
            return f"{self.file.baseline}, tuned at {self.home} alone"
        return f"{row}, one lr0"

    @property
    def home(self) -> str:
        """The bits that the one rate and the carried tuning are from."""
        return _bits(self.file.home)


def read_no_retuning(folder: Path) -> Experiment:
    """Read what the experiment wrote.

    Raises:
        UserError: nothing there yet, or damaged.
    """
    file = NoRetuningFile.read(folder)
    rows: dict[str, dict[str, dict[int, float]]] = {}
    for name in file.names:
        rows[name] = {width.network: width.rows[name].by_seed for width in file.widths}
    return Experiment(file, rows)


def no_retuning_table(data: Experiment) -> TableData:
    """Return a row a bit width: accuracies of all rows with their rates, paired differences; then what tuning cost."""
    pairs = _compared_rows(data)
    titles = [data.title(name).replace(", ", ",\n") for name in data.rows]
    differences = [f"{ours} minus\n{theirs}" for ours, theirs in pairs]
    rows = [_width_row(data, network, pairs) for network in data.networks]
    costs = [data.file.spent[name] for name in data.rows]
    nothing = [""] * len(pairs)
    rows.append(("tuning runs", *(f"{cost.runs}" for cost in costs), *nothing))
    rows.append(("tuning seconds", *(f"{cost.seconds:.0f}" for cost in costs), *nothing))
    return TableData(("bits", *titles, *differences), tuple(rows))


def _compared_rows(data: Experiment) -> list[tuple[str, str]]:
    """Return the rows whose difference is shown: each scheduler with the tuned one, the first with the carried one."""
    pairs = [(name, TUNED) for name in data.schedulers]
    pairs.append((data.schedulers[0], CARRIED))
    return pairs


def _width_row(data: Experiment, network: str, pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return a bit width's accuracies with their rates, and its differences."""
    cells = [_bits(network)]
    for name in data.rows:
        values = data.accuracies(name, network)
        accuracy = mean_text(values) if values else DIVERGED
        cells.append(f"{accuracy} (lr {data.rate(name, network):g})")
    verdicts = data.verdicts(network)
    for ours, theirs in pairs:
        judged = verdicts[ours] if theirs == TUNED else None
        cells.append(_judged_difference(data.difference(ours, theirs, network), judged))
    return tuple(cells)


def _judged_difference(found: Difference | None, verdict: Verdict | None) -> str:
    """Return ``+0.84 [-1.20..+2.88] undecided (6 more)``; the brackets hold the 95 % interval, where there is one."""
    parts = [difference_text(found)]
    interval = interval_text(found)
    if interval:
        parts.append(f"[{interval}]")
    if verdict is not None:
        parts.append(str(verdict.answer))
        further = further_text(verdict)
        if further:
            parts.append(f"({further} more)")
    return " ".join(part for part in parts if part)


def no_retuning_lines(data: Experiment) -> list[str]:
    """Return what a reader must know beside the table."""
    file = data.file
    source = "given by the user" if file.lr_range is None else "from the range test there"
    if file.lr_tuning is not None:
        source = f"tuned there over the same rates with {file.schedulers[0]}"
    tried = ", ".join(f"{rate:g}" for rate in file.grid)
    return [
        f"{_setting(file)}: test accuracy in percent, mean ± standard deviation.",
        f"ASLR has lr0 {file.lr:g} at all widths, found at {data.home} ({source}). Tuned: {file.baseline} was run "
        f"with each lr of {tried} ({len(file.tuning_seeds)} run(s) a rate) and the one that was best on "
        "validation images taken. Differences are paired by seed, in points, with the 95 % interval of their mean.",
        words_line(file.tolerance),
        "In brackets behind undecided: the further seeds that would decide if mean and spread stayed as they are.",
    ]


def _setting(file: NoRetuningFile) -> str:
    """Return what all runs have in common: network, data, width, epochs, images, seeds."""
    recipe = file.recipes[0]
    family = recipe["network"].rsplit("_", 1)[0]
    parts = [f"{family} on {recipe['data']}", f"width {recipe['width']:g}", f"{recipe['epochs']} epochs"]
    if recipe.get("train_size"):
        parts.append(f"{recipe['train_size']} training images")
    parts.append("1 seed" if len(file.seeds) == 1 else f"{len(file.seeds)} seeds")
    return ", ".join(parts)


def no_retuning_verdict(data: Experiment) -> tuple[Answer, str]:
    """Return the answer that decides, and at which widths each scheduler holds against the tuned baseline."""
    parts = []
    for name in data.schedulers:
        answers = {_bits(network): data.verdicts(network)[name].answer for network in data.networks}
        parts.append(f"{label_of(name)} {tally(answers, 'at bit widths')}")
    against = f"against {data.file.baseline} tuned at each width"
    return data.answer, f"{'; '.join(parts)}; {against}, the tolerance is {data.file.tolerance:g} points."


def no_retuning_markdown(data: Experiment) -> str:
    """Return lines, table and verdict as Markdown."""
    _, sentence = no_retuning_verdict(data)
    return f"{_lines_and_table(data)}\n{sentence}\n"


def _lines_and_table(data: Experiment) -> str:
    table = no_retuning_table(data)
    head, *rows = ([cell.replace("\n", " ") for cell in row] for row in (table.head, *table.rows))
    return f"{' '.join(no_retuning_lines(data))}\n\n{markdown_table(head, rows)}\n"


def no_retuning_figure(data: Experiment) -> Figure:
    """Draw test accuracy by bits: a line a row with one standard deviation as a band; the legend has tuning's cost."""
    figure = Figure(figsize=SIZE, layout=padded_layout())
    axes = figure.subplots()
    for name in data.rows:
        _draw_row(axes, data, name)
    axes.set_xticks(range(len(data.networks)), [_bits(network) for network in data.networks])
    axes.set_xlabel("bits of weights and activations")
    axes.set_title("Test accuracy, %", loc="left", fontsize=11, fontweight="bold")
    axes.set_title("mean ± sd", loc="right", fontsize=8.5)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(True, axis="y", color=GRID_LINES, lw=0.8)
    open_frame(axes)
    return figure


def no_retuning_seen(data: Experiment) -> str:
    """Return what is to be seen on the figure, for who does not see it: where each line begins and ends."""
    parts = []
    for name in data.rows:
        ends = []
        for network in data.networks:
            values = data.accuracies(name, network)
            if values:
                ends.append(f"{sum(values) / len(values):.1f} % at {_bits(network)}")
        if ends:
            parts.append(f"{data.title(name)}: {ends[0]} to {ends[-1]}")
    return f"Mean test accuracy by bits of weights and activations. {'; '.join(parts)}."


def _draw_row(axes: Axes, data: Experiment, name: str) -> None:
    """Draw a row's means as a line and their deviations as a band, at the widths where a run finished."""
    places = []
    means = []
    low = []
    high = []
    for x, network in enumerate(data.networks):
        values = data.accuracies(name, network)
        if values:
            mean = sum(values) / len(values)
            spread = deviation(values) or 0.0
            places.append(x)
            means.append(mean)
            low.append(mean - spread)
            high.append(mean + spread)
    look = _look(data, name)
    axes.fill_between(places, low, high, color=look["color"], alpha=0.13, lw=0)
    axes.plot(places, means, **look, lw=2, ms=5.5, label=data.label(name))


def _look(data: Experiment, name: str) -> dict[str, Any]:
    """Return colour, dashes and marker of a row: a scheduler's own, and grey for the tuning that was carried over."""
    if name == CARRIED:
        return {"color": FAINT, "ls": ":", "marker": "v"}
    row = row_of(data.file.baseline if name == TUNED else name)
    return {"color": row.colour, "ls": row.dashes, "marker": row.marker}


def write_no_retuning(folder: Path) -> str:
    """Write the table and the plot beside the data; return the table's text."""
    data = read_no_retuning(folder)
    text = no_retuning_markdown(data)
    write_whole(folder / TABLE, text.encode("utf-8", "backslashreplace"))
    write_whole(folder / PLOT, png_of(no_retuning_figure(data)))
    return text


def print_no_retuning(folder: Path) -> None:
    """Write the table and the plot beside the data, and print lines, table and the verdict last."""
    write_no_retuning(folder)
    data = read_no_retuning(folder)
    print(_lines_and_table(data), flush=True)
    answer, sentence = no_retuning_verdict(data)
    print_notes({sentence: STYLES[answer]}, report_console())


def is_no_retuning(folder: Path) -> bool:
    """Return whether ``folder`` holds this experiment."""
    return NoRetuningFile.is_in(folder)


def _bits(network: str) -> str:
    """Return ``1`` for ``CNV_1W1A``, and the bits as they are for other pairs."""
    bits = network.rsplit("_", 1)[1]
    weights, _, activations = bits.rstrip("A").partition("W")
    return weights if weights == activations else bits

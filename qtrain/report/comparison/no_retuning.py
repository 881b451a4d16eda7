"""The no-retuning experiment's table and plot, from ``no_retuning.json`` alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from qtrain.records.files import write_whole
from qtrain.records.no_retuning import CARRIED, TUNED, NoRetuningFile
from qtrain.report.comparison.figures import PAD, SIZE
from qtrain.report.comparison.text import TableData, interval_text, spread
from qtrain.report.comparison.verdict import Answer, Verdict, judge_each, worst
from qtrain.report.comparison.verdict_words import STYLES, further_text, tally, words_line
from qtrain.report.pages import png_of
from qtrain.report.statistics import Difference, deviation, paired_difference
from qtrain.report.tables import _console, print_notes
from qtrain.schedulers.catalogue import label_of, row_of

TABLE, PLOT = "no_retuning.md", "no_retuning.png"
_DASHES = {TUNED: "--", CARRIED: ":"}


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
        """One a bit width."""
        return tuple(width.network for width in self.file.widths)

    @property
    def schedulers(self) -> tuple[str, ...]:
        """Those of ASLR's family."""
        return self.file.schedulers

    def rate(self, row: str, network: str) -> float:
        """The learning rate of a row at one width."""
        return next(width.rows[row].lr for width in self.file.widths if width.network == network)

    def accuracies(self, row: str, network: str) -> list[float]:
        """By seed."""
        return [value for _, value in sorted(self.rows[row][network].items())]

    def difference(self, row: str, other: str, network: str) -> Difference | None:
        """``row`` minus ``other``, paired by seed; None where no seed has both."""
        ours, theirs = self.rows[row][network], self.rows[other][network]
        seeds = sorted(ours.keys() & theirs.keys())
        return paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds]) if seeds else None

    def verdicts(self, network: str) -> dict[str, Verdict]:
        """Each scheduler against the tuned baseline, always from the accuracies: older files have no verdict."""
        tuned = f"the tuned {self.file.baseline}"
        accuracies = {name: self.rows[name][network] for name in self.schedulers}
        accuracies[tuned] = self.rows[TUNED][network]
        return judge_each(self.schedulers, accuracies, tuned, self.file.seeds, self.file.tolerance)

    @property
    def answer(self) -> Answer:
        """Of all schedulers and widths together."""
        return worst(verdict.answer for network in self.networks for verdict in self.verdicts(network).values())

    def label(self, row: str) -> str:
        """A row's name with what its numbers cost."""
        runs = self.file.spent[row].runs
        baseline = self.file.baseline
        how = {TUNED: f"{baseline}, tuned at each width", CARRIED: f"{baseline}, tuned at {self.home} alone"}
        cost = f"{runs} tuning runs" if runs != 1 else "1 tuning run"
        return f"{how.get(row, f'{row}, one lr0')} ({cost})"

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
    rows = {name: {width.network: width.rows[name].by_seed for width in file.widths} for name in file.names}
    return Experiment(file, rows)


def no_retuning_table(data: Experiment) -> TableData:
    """A row a bit width: accuracies of all rows with their rates, paired differences, tuning runs and seconds."""
    first, names = data.schedulers[0], list(data.rows)
    pairs = [*((name, TUNED) for name in data.schedulers), (first, CARRIED)]
    titles = [data.label(name).split(" (")[0].replace(", ", ",\n") for name in names]
    head = ["bits", *titles, *(f"{ours} minus\n{theirs}" for ours, theirs in pairs)]
    rows = []
    for network in data.networks:
        row = [_bits(network)]
        for name in names:
            values = data.accuracies(name, network)
            row.append(f"{spread(values) if values else 'diverged'} (lr {data.rate(name, network):g})")
        verdicts = data.verdicts(network)
        for ours, theirs in pairs:
            judged = verdicts[ours] if theirs == TUNED else None
            row.append(_difference_text(data.difference(ours, theirs, network), judged))
        rows.append(tuple(row))
    costs = [data.file.spent[name] for name in names]
    nothing = [""] * len(pairs)
    runs = ("tuning runs", *(f"{cost.runs}" for cost in costs), *nothing)
    seconds = ("tuning seconds", *(f"{cost.seconds:.0f}" for cost in costs), *nothing)
    return TableData(tuple(head), (*rows, runs, seconds))


def _difference_text(found: Difference | None, verdict: Verdict | None) -> str:
    """``+0.84 [-1.20..+2.88] undecided (6 more)``; the brackets hold the 95 % interval, where there is one."""
    parts = []
    if found is not None:
        parts.append(f"{found.mean:+.2f}")
        if interval := interval_text(found):
            parts.append(f"[{interval}]")
    if verdict is not None:
        parts.append(str(verdict.answer))
        if further := further_text(verdict):
            parts.append(f"({further} more)")
    return " ".join(parts)


def no_retuning_lines(data: Experiment) -> list[str]:
    """What a reader must know beside the table."""
    file = data.file
    recipe = file.recipes[0]
    source = "given by the user" if file.lr_range is None else "from the range test there"
    grid = ", ".join(f"{rate:g}" for rate in file.grid)
    count = len(file.seeds)
    images = f"{recipe['train_size']} training images, " if recipe.get("train_size") else ""
    return [
        f"{recipe['network'].rsplit('_', 1)[0]} on {recipe['data']}, width {recipe['width']:g}, "
        f"{recipe['epochs']} epochs, {images}"
        f"{count} {'seed' if count == 1 else 'seeds'}: test accuracy in percent, mean ± standard deviation.",
        f"ASLR has lr0 {file.lr:g} at all widths, found at {data.home} ({source}). Tuned: {file.baseline} was run "
        f"with each lr of {grid} ({len(file.tuning_seeds)} run(s) a rate) and the one that was best on "
        "validation images taken. Differences are paired by seed, in points, with the 95 % interval of their mean.",
        words_line(file.tolerance),
        "In brackets behind undecided: the further seeds that would decide if mean and spread stayed as they are.",
    ]


def no_retuning_verdict(data: Experiment) -> tuple[Answer, str]:
    """The answer that decides, and at which widths each scheduler holds against the tuned baseline."""
    parts = []
    for name in data.schedulers:
        answers = {_bits(network): data.verdicts(network)[name].answer for network in data.networks}
        parts.append(f"{label_of(name)} {tally(answers, 'at bit widths')}")
    against = f"against {data.file.baseline} tuned at each width"
    return data.answer, f"{'; '.join(parts)}; {against}, the tolerance is {data.file.tolerance:g} points."


def no_retuning_markdown(data: Experiment) -> str:
    """Lines, table and verdict."""
    return f"{_body(data)}\n{no_retuning_verdict(data)[1]}\n"


def _body(data: Experiment) -> str:
    table = no_retuning_table(data)
    rule = "| " + " | ".join("---" for _ in table.head) + " |"
    lines = ["| " + " | ".join(cell.replace("\n", " ") for cell in row) + " |" for row in (table.head, *table.rows)]
    return "\n\n".join([" ".join(no_retuning_lines(data)), "\n".join([lines[0], rule, *lines[1:]])]) + "\n"


def no_retuning_figure(data: Experiment) -> Figure:
    """Test accuracy by bits: a line a row with one standard deviation as a band; the legend says what tuning cost."""
    figure = Figure(figsize=SIZE, layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))
    axes = figure.subplots()
    colours = {TUNED: row_of(data.file.baseline).colour, CARRIED: "#6B7280"}
    for name in data.rows:
        found = [(x, data.accuracies(name, n)) for x, n in enumerate(data.networks) if data.accuracies(name, n)]
        places, means = [x for x, _ in found], [sum(values) / len(values) for _, values in found]
        spreads = [deviation(values) or 0.0 for _, values in found]
        colour = colours.get(name) or row_of(name).colour
        low = [m - s for m, s in zip(means, spreads, strict=True)]
        high = [m + s for m, s in zip(means, spreads, strict=True)]
        axes.fill_between(places, low, high, color=colour, alpha=0.13, lw=0)
        axes.plot(places, means, "o", ls=_DASHES.get(name, "-"), color=colour, lw=2, ms=5, label=data.label(name))
    axes.set_xticks(range(len(data.networks)), [_bits(name) for name in data.networks])
    axes.set_xlabel("bits of weights and activations")
    axes.set_title("Test accuracy, %", loc="left", fontsize=11, fontweight="bold")
    axes.set_title("mean ± sd", loc="right", fontsize=8.5)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(True, axis="y", color="#E4E7EB", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def write_no_retuning(folder: Path) -> str:
    """Write the table and the plot beside the data; return the table's text."""
    data = read_no_retuning(folder)
    text = no_retuning_markdown(data)
    write_whole(folder / TABLE, text.encode())
    write_whole(folder / PLOT, png_of(no_retuning_figure(data)))
    return text


def print_no_retuning(folder: Path) -> None:
    """Write the table and the plot beside the data, and print lines, table and the verdict last."""
    write_no_retuning(folder)
    data = read_no_retuning(folder)
    print(_body(data), flush=True)
    answer, sentence = no_retuning_verdict(data)
    print_notes({sentence: STYLES[answer]}, _console())


def is_no_retuning(folder: Path) -> bool:
    """Whether ``folder`` holds this experiment."""
    return NoRetuningFile.is_in(folder)


def _bits(network: str) -> str:
    """``1W1A`` as ``1``, other pairs as they are."""
    name: Any = network.rsplit("_", 1)[1]
    weights, _, activations = name.rstrip("A").partition("W")
    return weights if weights == activations else name

"""The no-retuning experiment's table and plot, from ``no_retuning.json`` alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from qtrain.errors import UserError
from qtrain.records.fields import Fields, parse_json, read_text
from qtrain.records.files import write_whole
from qtrain.report.comparison.figures import PAD, SIZE, scheduler_colour
from qtrain.report.comparison.text import TableData, interval_text, spread
from qtrain.report.comparison.verdict import Answer, Verdict, judge_each, worst
from qtrain.report.comparison.verdict_words import STYLES, further_text, tally, title_of, words_line
from qtrain.report.pages import png_of
from qtrain.report.statistics import Difference, deviation, paired_difference
from qtrain.report.tables import _console, print_notes

DATA, TABLE, PLOT = "no_retuning.json", "no_retuning.md", "no_retuning.png"
TUNED, CARRIED = "tuned", "carried"
COSTS = ("runs", "seconds")
_DASHES = {TUNED: "--", CARRIED: ":"}


@dataclass(frozen=True)
class Experiment:
    """What ``no_retuning.json`` holds.

    Attributes:
        networks: one a bit width.
        schedulers: of ASLR's family.
        rows: accuracies in percent by row ("aslr", "tuned", "carried"), network and seed; diverged runs are absent.
        rates: by row and network.
        spent: tuning runs and seconds by row.
        facts: the rest.
    """

    networks: tuple[str, ...]
    schedulers: tuple[str, ...]
    rows: dict[str, dict[str, dict[int, float]]]
    rates: dict[str, dict[str, float]]
    spent: dict[str, dict[str, float]]
    facts: Fields

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
        tuned = f"the tuned {self.facts.text('baseline')}"
        accuracies = {name: self.rows[name][network] for name in self.schedulers}
        accuracies[tuned] = self.rows[TUNED][network]
        seeds = [int(seed) for seed in self.facts.items("seeds")]
        return judge_each(self.schedulers, accuracies, tuned, seeds, self.facts.number("tolerance"))

    @property
    def answer(self) -> Answer:
        """Of all schedulers and widths together."""
        return worst(verdict.answer for network in self.networks for verdict in self.verdicts(network).values())

    def label(self, row: str) -> str:
        """A row's name with what its numbers cost."""
        runs, baseline = int(self.spent[row]["runs"]), self.facts.text("baseline")
        how = {TUNED: f"{baseline}, tuned at each width", CARRIED: f"{baseline}, tuned at {self.home} alone"}
        cost = f"{runs} tuning runs" if runs != 1 else "1 tuning run"
        return f"{how.get(row, f'{row}, one lr0')} ({cost})"

    @property
    def home(self) -> str:
        """The bits that the one rate and the carried tuning are from."""
        return _bits(self.facts.text("home"))


def read_no_retuning(folder: Path) -> Experiment:
    """Read what the experiment wrote.

    Raises:
        UserError: nothing there yet, or damaged.
    """
    path = folder / DATA
    facts = parse_json(read_text(path, "qtrain compare --lr-from"), path)
    widths = [Fields(width, path) for width in facts.items("widths")]
    names = [*map(str, facts.items("schedulers")), TUNED, CARRIED]
    rows: dict[str, dict[str, dict[int, float]]] = {name: {} for name in names}
    rates: dict[str, dict[str, float]] = {name: {} for name in names}
    for width in widths:
        network = width.text("network")
        for name in names:
            row = width.object("rows").object(name)
            found = row.object("test_accuracy")
            rows[name][network] = {int(seed): found.number(seed) for seed in found.values}
            rates[name][network] = row.number("lr")
    costs = facts.object("spent")
    spent = {n: {key: costs.object(n).number(key) for key in COSTS} for n in names}
    networks = tuple(width.text("network") for width in widths)
    if not networks:
        raise UserError(f"{path} holds no widths; run qtrain compare --lr-from again")
    return Experiment(networks, tuple(names[:-2]), rows, rates, spent, facts)


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
            row.append(f"{spread(values) if values else 'diverged'} (lr {data.rates[name][network]:g})")
        verdicts = data.verdicts(network)
        for ours, theirs in pairs:
            judged = verdicts[ours] if theirs == TUNED else None
            row.append(_difference_text(data.difference(ours, theirs, network), judged))
        rows.append(tuple(row))
    spent = [(f"tuning {key}", *(f"{data.spent[n][key]:.0f}" for n in names), *[""] * len(pairs)) for key in COSTS]
    return TableData(tuple(head), (*rows, *spent))


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
    facts = data.facts
    recipe = Fields(facts.items("recipes")[0], facts.origin)
    lr = facts.number("lr")
    source = "given by the user" if facts.values.get("lr_range") is None else "from the range test there"
    grid = ", ".join(f"{rate:g}" for rate in facts.items("grid"))
    count = len(facts.items("seeds"))
    return [
        f"{recipe.text('network').rsplit('_', 1)[0]} on {recipe.text('data')}, width {recipe.number('width'):g}, "
        f"{recipe.integer('epochs')} epochs, "
        + (f"{recipe.values['train_size']} training images, " if recipe.values.get("train_size") else "")
        + f"{count} {'seed' if count == 1 else 'seeds'}: test accuracy in percent, mean ± standard deviation.",
        f"ASLR has lr0 {lr:g} at all widths, found at {data.home} ({source}). Tuned: {facts.text('baseline')} was run "
        f"with each lr of {grid} ({len(facts.items('tuning_seeds'))} run(s) a rate) and the one that was best on "
        "validation images taken. Differences are paired by seed, in points, with the 95 % interval of their mean.",
        words_line(facts.number("tolerance")),
        "In brackets behind undecided: the further seeds that would decide if mean and spread stayed as they are.",
    ]


def no_retuning_verdict(data: Experiment) -> tuple[Answer, str]:
    """The answer that decides, and at which widths each scheduler holds against the tuned baseline."""
    parts = []
    for name in data.schedulers:
        answers = {_bits(network): data.verdicts(network)[name].answer for network in data.networks}
        parts.append(f"{title_of(name)} {tally(answers, 'at bit widths')}")
    against = f"against {data.facts.text('baseline')} tuned at each width"
    return data.answer, f"{'; '.join(parts)}; {against}, the tolerance is {data.facts.number('tolerance'):g} points."


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
    baseline = data.facts.text("baseline")
    colours = {TUNED: scheduler_colour(baseline), CARRIED: "#6B7280"}
    for name in data.rows:
        found = [(x, data.accuracies(name, n)) for x, n in enumerate(data.networks) if data.accuracies(name, n)]
        places, means = [x for x, _ in found], [sum(values) / len(values) for _, values in found]
        spreads = [deviation(values) or 0.0 for _, values in found]
        colour = colours.get(name) or scheduler_colour(name)
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
    return (folder / DATA).exists()


def _bits(network: str) -> str:
    """``1W1A`` as ``1``, other pairs as they are."""
    name: Any = network.rsplit("_", 1)[1]
    weights, _, activations = name.rstrip("A").partition("W")
    return weights if weights == activations else name

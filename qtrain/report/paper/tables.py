"""The paper's tables with ours beside them, and learning curves, from the lines that ``qtrain reproduce`` wrote."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qtrain.errors import UserError
from qtrain.records.files import write_whole
from qtrain.report.comparison.text import DIVERGED, difference_text, interval_text, mean_text
from qtrain.report.pages import png_of
from qtrain.report.paper.aslr_figures import figure_3, figure_4
from qtrain.report.statistics import ASLR, difference_by_seed
from qtrain.report.style import GRID_LINES, open_frame, padded_layout
from qtrain.report.table import markdown_table
from qtrain.schedulers.catalogue import row_of

Result = Mapping[str, Any]
_TITLES = {
    "table1": "Table I: line searches",
    "table2": "Table II: seconds an epoch",
    "table3": "Table III: CIFAR-10",
    "table4": "Table IV: ImageNet",
}
_HEAD = (
    "network",
    "data",
    "batch",
    "scheduler",
    "ours, %",
    "paper's, %",
    "difference, points",
    "ASLR minus it, paired",
    "95 % interval",
    "seeds",
    "epochs",
    "protocol",
)
_TIMES_HEAD = (
    "network",
    "data",
    "batch",
    "scheduler",
    "s a step",
    "s an epoch",
    "times ASLR's",
    "paper's",
    "measured",
)
# Table II of the paper: seconds an epoch, times ASLR's
PAPER_RATIOS = {"aslr": "1", "l4mom": "1.35 to 1.40", "armijo": "1.51 to 1.52"}
_DRAWN_BY_ASLR: dict[str, Callable[[], Figure]] = {"figure3": figure_3, "figure4": figure_4}
CURVES = {"figure5": ("validation_accuracy", "Validation accuracy, %"), "figure6": ("lr", "Learning rate")}
FIGURES = (*_DRAWN_BY_ASLR, *CURVES)


def reproduce_markdown(results: Sequence[Result], planned: Sequence[Result] = ()) -> str:
    """Return all tables as a page; runs of each scale and protocol stand in a table of their own.

    Args:
        results: lines of the results file.
        planned: rows that full runs fill, with the fields of a result up to its seed; one without runs stays empty.
    """
    parts = [
        "# The paper's tables, measured again",
        "Written by `qtrain reproduce` from its results file. Accuracies are those on the test set, mean ± standard "
        "deviation over seeds. holdout: the best epoch is chosen on images held out of the training set; paper: on the "
        "test set, as the paper did. The paper prints no recipes: ours are the public ones that come closest.",
    ]
    for table, title in _TITLES.items():
        found = [result for result in results if result["table"] == table]
        if table == "table2":
            parts += _times(title, found)
        else:
            parts += _full_runs(title, found, [row for row in planned if row["table"] == table])
            parts += _smaller_runs(title, found)
    return "\n\n".join(parts) + "\n"


def _full_runs(title: str, results: Sequence[Result], planned: Sequence[Result]) -> list[str]:
    """Return a heading and a table for each protocol: the planned rows and the full runs."""
    full = [result for result in results if not result["scale"]]
    parts = []
    for protocol in _protocols([*planned, *full]):
        found = [result for result in full if result["protocol"] == protocol]
        parts += [f"## {title}, full runs, protocol {protocol}", _table([*planned, *found], found)]
    return parts


def _smaller_runs(title: str, results: Sequence[Result]) -> list[str]:
    """Return a heading, a remark and a table for each scale and protocol of the runs that are no full ones."""
    parts = []
    for scale in _scales(results):
        of_scale = [result for result in results if result["scale"] == scale]
        for protocol in _protocols(of_scale):
            found = [result for result in of_scale if result["protocol"] == protocol]
            parts += [
                f"## {title}, scaled down ({scale_words(scale)}), protocol {protocol}",
                "Smaller runs than the paper's: the difference to it says what scaling down cost, no more.",
                _table(found, found),
            ]
    return parts


def _protocols(rows: Sequence[Result]) -> list[str]:
    """Return the protocols of some rows, each once."""
    return list(dict.fromkeys(row["protocol"] for row in rows))


def _scales(results: Iterable[Result]) -> list[Mapping[str, float]]:
    """Return how much smaller than the paper's the runs are, each scale once; full runs have none."""
    found: list[Mapping[str, float]] = []
    for result in results:
        if result["scale"] and result["scale"] not in found:
            found.append(result["scale"])
    return found


def scale_words(scale: Mapping[str, float]) -> str:
    """Return what of a run is smaller: ``epochs x 0.1, width 0.25, 500 training images``."""
    words = {"epochs_scale": "epochs x {:g}", "width": "width {:g}", "train_size": "{:g} training images"}
    return ", ".join(words[name].format(value) for name, value in scale.items())


def _same_run(row: Result) -> tuple[Any, ...]:
    """Return what runs that are compared with each other have in common; other epochs are another run."""
    return (row["label"], row["data"], row["batch_size"], row["epochs"])


def _table(rows: Sequence[Result], results: Sequence[Result]) -> str:
    """Return one line a setting and scheduler, in the order of ``rows``, with what ``results`` says of it."""
    first: dict[tuple[Any, ...], Result] = {}
    for row in rows:
        first.setdefault((_same_run(row), row["scheduler"]), row)
    lines = []
    for row in first.values():
        same = [result for result in results if _same_run(result) == _same_run(row)]
        ours = [result for result in same if result["scheduler"] == row["scheduler"]]
        setting = (row["label"], row["data"], str(row["batch_size"]), row["scheduler"])
        numbers = _numbers(ours, row["paper_accuracy"])
        lines.append((*setting, *numbers, *_paired(same, row["scheduler"]), *_counts(ours, row["epochs"])))
    return markdown_table(_HEAD, lines)


def _numbers(results: Sequence[Result], paper: float) -> tuple[str, str, str]:
    """Return ours, the paper's, and their difference."""
    values = [result["test_accuracy"] for result in results if "test_accuracy" in result]
    if values:
        return mean_text(values), f"{paper:.1f}", f"{statistics.mean(values) - paper:+.2f}"
    return (DIVERGED if results else "", f"{paper:.1f}", "")


def _paired(results: Sequence[Result], scheduler: str) -> tuple[str, str]:
    """Return ASLR minus ``scheduler`` over the seeds that both finished, with the interval."""
    if scheduler == ASLR:
        return "", ""
    difference = difference_by_seed(_by_seed(results, ASLR), _by_seed(results, scheduler))
    return difference_text(difference), interval_text(difference)


def _by_seed(results: Sequence[Result], scheduler: str) -> dict[int, float]:
    """Return the test accuracies of a scheduler's runs that did not diverge."""
    found = {}
    for result in results:
        if result["scheduler"] == scheduler and "test_accuracy" in result:
            found[result["seed"]] = result["test_accuracy"]
    return found


def _counts(results: Sequence[Result], epochs: int) -> tuple[str, str, str]:
    """Return seeds (with how many diverged), epochs, protocol."""
    if not results:
        return "0", str(epochs), ""
    seeds = f"{len(results)}"
    failed = sum("failed" in result for result in results)
    if 0 < failed < len(results):
        seeds += f" ({failed} diverged)"
    return seeds, str(epochs), results[0]["protocol"]


def _times(title: str, results: Sequence[Result]) -> list[str]:
    """Return heading, remark and table of Table II; nothing without a measurement."""
    if not results:
        return []
    lines = []
    for result in results:
        network = result["network"]
        if result["scale"]:
            network += f" ({scale_words(result['scale'])})"
        how = f"{result['rounds']} rounds of {result['steps_a_round']} steps"
        measured = f"{how}, {result['clock']}, {result['machine']['device']}"
        for name, row in result["schedulers"].items():
            lines.append(
                (
                    network,
                    result["data"],
                    str(result["batch_size"]),
                    name,
                    _spread_text(row["step_seconds"], digits=3),
                    f"{row['epoch_seconds']:.0f}",
                    _spread_text(row["ratio"], digits=2),
                    PAPER_RATIOS.get(name, ""),
                    measured,
                )
            )
    remark = "An epoch is a step's time by the number of steps; validation, equal for all, is left out."
    return [f"## {title}", remark, markdown_table(_TIMES_HEAD, lines)]


def _spread_text(values: Mapping[str, float], digits: int) -> str:
    """Return ``median [least..largest]``."""
    median = f"{values['median']:.{digits}f}"
    return f"{median} [{values['min']:.{digits}f}..{values['max']:.{digits}f}]"


def curves_figure(results: Sequence[Result], name: str) -> Figure | None:
    """Draw Figure 5 (validation accuracy by epoch) or 6 (learning rate) of all recorded settings; None without a run.

    One panel a setting, scale and protocol; a line a seed.

    Args:
        results: lines of the results file.
        name: figure5 or figure6.
    """
    value, title = CURVES[name]
    panels: dict[str, list[Result]] = {}
    for result in results:
        if "curve" in result:
            panels.setdefault(_panel_title(result), []).append(result)
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.4 * columns, 3.4 * rows), layout=padded_layout())
    figure.suptitle(title, fontsize=11, fontweight="bold")
    all_axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (panel_title, found) in zip(all_axes, panels.items(), strict=False):
        _draw_panel(axes, found, value)
        axes.set_title(panel_title, fontsize=8.5)
        if value == "lr":
            axes.set_yscale("symlog", linthresh=1e-6)
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    return figure


def _panel_title(result: Result) -> str:
    """Return what the runs of one panel have in common."""
    size = scale_words(result["scale"]) or f"{result['epochs']} epochs"
    setting = f"{result['label']}, {result['data']}, batch {result['batch_size']}"
    return f"{setting}\n{size}, {result['protocol']}"


def _draw_panel(axes: Axes, results: Sequence[Result], value: str) -> None:
    """Draw a curve a run; a scheduler's name stands once in the legend."""
    named: set[str] = set()
    for result in results:
        scheduler = result["scheduler"]
        curve = result["curve"][value]
        label = None if scheduler in named else scheduler
        named.add(scheduler)
        marker = "o" if len(curve) < 3 else "None"
        colour = row_of(scheduler).colour
        axes.plot(range(1, len(curve) + 1), curve, marker=marker, color=colour, lw=1.3, alpha=0.8, label=label)
    axes.set_xlabel("epoch")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(True, axis="y", color=GRID_LINES, lw=0.8)
    open_frame(axes)


def write_page(results: Sequence[Result], planned: Sequence[Result], page: Path) -> None:
    """Write the tables, and make the folder for them."""
    page.parent.mkdir(parents=True, exist_ok=True)
    write_whole(page, reproduce_markdown(results, planned).encode())


def write_figures(results: Sequence[Result], folder: Path, names: Iterable[str] = FIGURES) -> list[Path]:
    """Write figures as ``reproduce_NAME.png``; 5 and 6 only where runs are recorded.

    Figures 3 and 4 are drawn by ASLR itself. The paper's own drawings were not at hand: 5 and 6 are learning curves of
    whatever was run.

    Returns:
        The files.

    Raises:
        UserError: a curve is asked for by name and no run is recorded.
    """
    wanted = list(names)
    written = []
    for name in wanted:
        figure = _DRAWN_BY_ASLR[name]() if name in _DRAWN_BY_ASLR else curves_figure(results, name)
        if figure is None:
            if len(wanted) == 1:
                raise UserError(f"{name} shows recorded runs and there are none yet; run qtrain reproduce table3 first")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"reproduce_{name}.png"
        write_whole(path, png_of(figure))
        written.append(path)
    return written

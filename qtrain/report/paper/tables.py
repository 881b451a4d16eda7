"""The paper's tables with ours beside them, and learning curves, from the lines that ``qtrain reproduce`` wrote."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from qtrain.errors import UserError
from qtrain.records.files import write_whole
from qtrain.report.comparison.figures import PAD
from qtrain.report.comparison.text import interval_text, spread
from qtrain.report.pages import png_of
from qtrain.report.paper.aslr_figures import figure_3, figure_4
from qtrain.report.statistics import ASLR, paired_difference
from qtrain.schedulers.catalogue import row_of

Result = Mapping[str, Any]
_TITLES = {
    "table1": "Table I: line searches",
    "table2": "Table II: seconds an epoch",
    "table3": "Table III: CIFAR-10",
    "table4": "Table IV: ImageNet",
}
_HEAD = (
    *("network", "data", "batch", "scheduler", "ours, %", "paper's, %", "difference, points"),
    *("ASLR minus it, paired", "95 % interval", "seeds", "epochs", "protocol"),
)
# Table II of the paper: seconds an epoch, times ASLR's
PAPER_RATIOS = {"aslr": "1", "l4mom": "1.35 to 1.40", "armijo": "1.51 to 1.52"}
_SEARCHES: dict[str, Callable[[], Figure]] = {"figure3": figure_3, "figure4": figure_4}
CURVES = {"figure5": ("validation_accuracy", "Validation accuracy, %"), "figure6": ("lr", "Learning rate")}
FIGURES = (*_SEARCHES, *CURVES)


def reproduce_markdown(results: Sequence[Result], planned: Sequence[Result] = ()) -> str:
    """All tables as a page; runs of each scale and protocol stand in a table of their own.

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
        if table == "table2":
            parts += _times(title, [r for r in results if r["table"] == table])
            continue
        ours, rows = [r for r in results if r["table"] == table], [p for p in planned if p["table"] == table]
        protocols = dict.fromkeys([*(p["protocol"] for p in rows), *(r["protocol"] for r in ours if not r["scale"])])
        for protocol in protocols:
            full = [r for r in ours if not r["scale"] and r["protocol"] == protocol]
            parts += [f"## {title}, full runs, protocol {protocol}", _table([*rows, *full], full)]
        for scale in _unique(r["scale"] for r in ours if r["scale"]):
            for protocol in dict.fromkeys(r["protocol"] for r in ours if r["scale"] == scale):
                found = [r for r in ours if r["scale"] == scale and r["protocol"] == protocol]
                parts += [
                    f"## {title}, scaled down ({scale_words(scale)}), protocol {protocol}",
                    "Smaller runs than the paper's: the difference to it says what scaling down cost, no more.",
                    _table(found, found),
                ]
    return "\n\n".join(parts) + "\n"


def scale_words(scale: Mapping[str, float]) -> str:
    """What of a run is smaller: ``epochs x 0.1, width 0.25, 500 images``."""
    words = {"epochs_scale": "epochs x {:g}", "width": "width {:g}", "train_size": "{:g} training images"}
    return ", ".join(words[name].format(value) for name, value in scale.items())


def _unique(scales: Iterable[Mapping[str, float]]) -> list[Mapping[str, float]]:
    found: list[Mapping[str, float]] = []
    for scale in scales:
        if scale not in found:
            found.append(scale)
    return found


def _setting(result: Result) -> tuple[Any, ...]:
    return (result["label"], result["data"], result["batch_size"])


def _table(rows: Sequence[Result], results: Sequence[Result]) -> str:
    """A row a setting and scheduler, in the order of ``rows``; one epoch count each, else they are not the same run."""
    keys = dict.fromkeys((*_setting(row), row["scheduler"], row["epochs"]) for row in rows)
    lines = []
    for label, data, batch, scheduler, epochs in keys:
        same = [r for r in results if _setting(r) == (label, data, batch) and r["epochs"] == epochs]
        of = [r for r in same if r["scheduler"] == scheduler]
        paper = next(
            row["paper_accuracy"]
            for row in rows
            if (*_setting(row), row["scheduler"], row["epochs"]) == (label, data, batch, scheduler, epochs)
        )
        lines.append(
            (label, data, str(batch), scheduler, *_numbers(of, paper), *_paired(same, scheduler), *_counts(of, epochs))
        )
    return _markdown(_HEAD, lines)


def _numbers(results: Sequence[Result], paper: float) -> tuple[str, str, str]:
    """Ours, the paper's, and their difference."""
    values = [r["test_accuracy"] for r in results if "test_accuracy" in r]
    if not values:
        return ("diverged" if results else "", f"{paper:.1f}", "")
    return spread(values), f"{paper:.1f}", f"{statistics.mean(values) - paper:+.2f}"


def _paired(results: Sequence[Result], scheduler: str) -> tuple[str, str]:
    """ASLR minus ``scheduler`` over the seeds that both finished."""
    if scheduler == ASLR:
        return "", ""
    ours, theirs = (
        {r["seed"]: r["test_accuracy"] for r in results if r["scheduler"] == name and "test_accuracy" in r}
        for name in (ASLR, scheduler)
    )
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return "", ""
    found = paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds])
    return f"{found.mean:+.2f}", interval_text(found)


def _counts(results: Sequence[Result], epochs: int) -> tuple[str, str, str]:
    """Seeds (with how many diverged), epochs, protocol."""
    failed = sum("failed" in r for r in results)
    seeds = f"{len(results)}" + (f" ({failed} diverged)" if failed and failed < len(results) else "")
    return (seeds if results else "0"), str(epochs), results[0]["protocol"] if results else ""


def _times(title: str, results: Sequence[Result]) -> list[str]:
    if not results:
        return []
    head = ("network", "data", "batch", "scheduler", "s a step", "s an epoch", "times ASLR's", "paper's", "measured")
    lines = []
    for result in results:
        size = f" ({scale_words(result['scale'])})" if result["scale"] else ""
        for name, row in result["schedulers"].items():
            ratio, step = row["ratio"], row["step_seconds"]
            lines.append(
                (
                    f"{result['network']}{size}",
                    *(result["data"], str(result["batch_size"]), name),
                    f"{step['median']:.3f} [{step['min']:.3f}..{step['max']:.3f}]",
                    f"{row['epoch_seconds']:.0f}",
                    f"{ratio['median']:.2f} [{ratio['min']:.2f}..{ratio['max']:.2f}]",
                    PAPER_RATIOS.get(name, ""),
                    f"{result['rounds']} rounds of {result['steps_a_round']} steps, {result['clock']}, "
                    f"{result['machine']['device']}",
                )
            )
    text = "An epoch is a step's time by the number of steps; validation, equal for all, is left out."
    return [f"## {title}", text, _markdown(head, lines)]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def curves_figure(results: Sequence[Result], name: str) -> Figure | None:
    """Figure 5 (validation accuracy by epoch) or 6 (learning rate) of every recorded setting; None without any run.

    One panel a setting, scale and protocol; a line a seed.

    Args:
        results: lines of the results file.
        name: figure5 or figure6.
    """
    value, title = CURVES[name]
    panels: dict[str, list[Result]] = {}
    for result in results:
        if "curve" in result:
            size = scale_words(result["scale"]) or f"{result['epochs']} epochs"
            text = f"{result['label']}, {result['data']}, batch {result['batch_size']}\n{size}, {result['protocol']}"
            panels.setdefault(text, []).append(result)
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.4 * rows), layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))
    figure.suptitle(title, fontsize=11, fontweight="bold")
    all_axes = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (text, found) in zip(all_axes, panels.items(), strict=False):
        shown: set[str] = set()
        for result in found:
            scheduler, curve = result["scheduler"], result["curve"][value]
            label = None if scheduler in shown else scheduler
            shown.add(scheduler)
            marker = "o" if len(curve) < 3 else "None"
            colour = row_of(scheduler).colour
            axes.plot(range(1, len(curve) + 1), curve, marker=marker, color=colour, lw=1.3, alpha=0.8, label=label)
        axes.set_title(text, fontsize=8.5)
        axes.set_xlabel("epoch")
        axes.legend(frameon=False, fontsize=8)
        axes.grid(True, axis="y", color="#E4E7EB", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        if value == "lr":
            axes.set_yscale("symlog", linthresh=1e-6)
    for axes in list(figure.axes)[len(panels) :]:
        axes.set_axis_off()
    return figure


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
    written, wanted = [], list(names)
    for name in wanted:
        figure = _SEARCHES[name]() if name in _SEARCHES else curves_figure(results, name)
        if figure is None:
            if len(wanted) == 1:
                raise UserError(f"{name} shows recorded runs and there are none yet; run qtrain reproduce table3 first")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"reproduce_{name}.png"
        write_whole(path, png_of(figure))
        written.append(path)
    return written

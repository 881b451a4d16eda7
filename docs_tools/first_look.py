"""What a newcomer sees first, made from the last record of ``benchmarks.five_minutes``: a picture, timed commands."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.records import NOT_YET, lines, table
from qtrain.report.estimate_figure import COLOURS
from qtrain.report.style import FAINT, INK, open_frame, padded_layout, write_title

PICTURE = Path(__file__).parents[1] / "docs" / "one_command.png"
RECORDS = "five_minutes.jsonl"
_ACCURACY = "#0072B2"
_PROVEN = "#007A5A"


def one_command() -> str:
    """The first command in a block, its duration, and the picture of what came of it, which is drawn."""
    if not (records := lines(RECORDS)):
        return NOT_YET
    record = records[-1]
    step, first = record["steps"][0], record["first"]
    draw(first).savefig(PICTURE, dpi=130)
    result, proof, estimate = first["result"], first["proof"], first["estimate"]
    seen = (
        f"Three plots of one run: validation accuracy rises to {result['validation_accuracy']:.0f} % in "
        f"{result['epochs']} epochs; {proof['equal']} of {proof['images']} test images get torch's class from the "
        f"exported graph; it takes {share(estimate, 'LUT'):.0%} of {estimate['board']}'s LUT for "
        f"{estimate['fps']:,.0f} frames a second by FINN's estimate"
    )
    return (
        f"```sh\n{step['command']}\n```\n\n"
        f"{step['seconds']:.0f} seconds on {record['cores']} cores, from nothing to a FINN folder and what FINN "
        f"estimates of it:\n\n![{seen}](docs/{PICTURE.name})"
    )


def five_minutes() -> str:
    """The commands and how long each took."""
    if not (records := lines(RECORDS)):
        return NOT_YET
    record = records[-1]
    steps = record["steps"]
    rows = [[f"`{step['command']}`", step["what"], f"{step['seconds']:.0f} s"] for step in steps]
    together = sum(step["seconds"] for step in steps)
    return (
        table(["command", "what it does", "took"], rows)
        + f"\n\nTogether {together / 60:.1f} minutes on {record['cores']} cores ({record['cpu']}, recorded "
        f"{record['date'][:10]}), without a network."
    )


def share(estimate: dict[str, Any], kind: str) -> float:
    """Part of what the board has that is used."""
    return float(estimate["used"][kind] / max(estimate["available"][kind], 1))


def draw(first: dict[str, Any]) -> Figure:
    """Draw what the first command did: training, proof, board."""
    figure = Figure(figsize=(10.4, 2.9), layout=padded_layout(0.06))
    training, proof, board = figure.subplots(1, 3, width_ratios=[1.2, 1.1, 1.1])
    _draw_training(training, first)
    _draw_proof(proof, first["proof"])
    _draw_board(board, first["estimate"])
    return figure


def _draw_training(axes: Axes, first: dict[str, Any]) -> None:
    epochs = [record["epoch"] for record in first["epochs"]]
    accuracies = [record["validation_accuracy"] for record in first["epochs"]]
    axes.plot(epochs, accuracies, color=_ACCURACY, marker="o", ms=4)
    axes.set_ylim(0, 105)
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.set_ylabel("validation accuracy, %", fontsize=9, color=INK)
    axes.tick_params(colors=FAINT, labelsize=8)
    write_title(axes, "1  Train, with one number")
    tested = f"test accuracy {first['result']['test_accuracy']:.1f} %"
    axes.text(0.97, 0.08, tested, transform=axes.transAxes, ha="right", fontsize=10, color=INK)
    open_frame(axes)


def _draw_proof(axes: Axes, proof: dict[str, Any]) -> None:
    axes.barh([1, 0], [proof["images"], proof["equal"]], color=["#B8BEC8", _PROVEN], height=0.55)
    axes.set_yticks([1, 0], ["test images", "same class as torch"], fontsize=9, color=INK)
    for y, count, colour in ((1, proof["images"], INK), (0, proof["equal"], "white")):
        axes.annotate(
            f"{count}", (count, y), (-5, 0), textcoords="offset points", ha="right", va="center", color=colour
        )
    axes.set_xticks([])
    write_title(axes, "2  Prove the exported graph")
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _draw_board(axes: Axes, estimate: dict[str, Any]) -> None:
    kinds = [kind for kind, has in estimate["available"].items() if has]
    shares = [100 * share(estimate, kind) for kind in kinds]
    places = range(len(kinds))[::-1]
    axes.barh(places, [100] * len(kinds), color="#EEF0F3", height=0.55)
    axes.barh(places, shares, color=[COLOURS[kind] for kind in kinds], height=0.55)
    for y, kind, value in zip(places, kinds, shares, strict=True):
        used = f"{estimate['used'][kind]:,} of {estimate['available'][kind]:,}"
        axes.annotate(
            used, (max(value, 2), y), (5, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK
        )
    axes.set_yticks(list(places), kinds, fontsize=9, color=INK)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"% of {estimate['board']}, by FINN's estimate", fontsize=9, color=INK)
    axes.tick_params(colors=FAINT, labelsize=8)
    axes.tick_params(axis="y", length=0)
    write_title(axes, f"3  {estimate['fps']:,.0f} frames a second")
    axes.spines[:].set_visible(False)

"""Tables of a comparison and of a proof, for the terminal; their cells are the web page's too."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtrain.report.read import ASLR, ComparisonData, read_comparison

COMPARISON_HEAD = (
    "scheduler",
    "test\naccuracy, %",
    "ASLR minus it,\npoints",
    "best\nepoch",
    "seconds\nan epoch",
    "rates\nto tune",
)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds (no deviation for one)."""
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def signed_range(values: Sequence[float]) -> str:
    """Mean with its sign and, for several values, the smallest and the largest: ``+0.25 [-0.10..+0.60]``."""
    mean = f"{statistics.mean(values):+.2f}"
    return f"{mean} [{min(values):+.2f}..{max(values):+.2f}]" if len(values) > 1 else mean


def tuned_rates(scheduler: str, recipe: Mapping[str, Any]) -> list[str]:
    """The learning-rate numbers that a user of the scheduler chooses by hand.

    Args:
        scheduler: its name.
        recipe: of the run; multi-step's milestones count one each.
    """
    if scheduler == "multistep":
        return ["lr0", *(f"milestone {m:g}" for m in recipe["milestones"]), "gamma"]
    return ["lr0", "length"] if scheduler == "cosine" else ["lr0"]


def comparison_rows(data: ComparisonData) -> list[tuple[str, ...]]:
    """One row a scheduler, cells as ``COMPARISON_HEAD`` names them."""
    rows: list[tuple[str, ...]] = []
    for scheduler in data.schedulers:
        runs = data.of(scheduler)
        epochs = sorted(r.best_epoch for r in runs)
        seconds = statistics.mean(r.seconds / len(r.epochs) for r in runs)
        rows.append(
            (
                scheduler,
                spread(data.accuracies(scheduler)),
                "" if scheduler == ASLR else signed_range(data.differences(scheduler)),
                str(epochs[0]) if epochs[0] == epochs[-1] else f"{epochs[0]} to {epochs[-1]}",
                f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}",
                str(len(tuned_rates(scheduler, data.recipe))),
            )
        )
    return rows


def tuned_note(data: ComparisonData) -> str:
    """What the last column counts."""
    parts = [f"{s}: {', '.join(tuned_rates(s, data.recipe))}" for s in data.schedulers]
    return f"Rates to tune by hand: {'; '.join(parts)}."


def seeds_note(data: ComparisonData) -> str:
    """What the spread is over, and what the test set was used for."""
    seeds = f"{len(data.seeds)} seeds ({', '.join(map(str, data.seeds))}), mean ± standard deviation"
    if len(data.seeds) == 1:
        seeds = f"One seed ({data.seeds[0]}), so no spread is known"
    if data.recipe.get("protocol") == "paper":
        return f"{seeds}; the test set was also the validation set (the ASLR paper's protocol)."
    return f"{seeds}; the test set was read once, at the end."


def verdict(data: ComparisonData) -> tuple[bool, str]:
    """Whether ASLR holds within the tolerance against every baseline, and the sentence that says so."""
    parts = []
    for baseline in data.baselines:
        points = statistics.mean(data.differences(baseline))
        parts.append(f"{abs(points):.2f} points {'below' if points < 0 else 'above'} {baseline}'s")
    listed = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    holds = not data.shortfalls
    seeds = "one seed" if len(data.seeds) == 1 else f"mean of {len(data.seeds)} paired seeds"
    return holds, (
        f"ASLR {'holds' if holds else 'falls short'}: its test accuracy is {listed} ({seeds}); "
        f"up to {data.tolerance:g} points below are allowed."
    )


def proof_rows(proof: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was proven and the number, one row each.

    Args:
        proof: the fields of ``qtrain.export.verify.Proof``.
    """
    differs = proof["float32_torch_differs"]
    return [
        ("test images with equal classes", f"{proof['equal']} of {proof['images']}"),
        ("accuracy of torch, float64", f"{proof['accuracy_torch']:.2f} %"),
        ("accuracy of the exported graph", f"{proof['accuracy_graph']:.2f} %"),
        ("largest difference of logits", f"{proof['largest_logit_difference']:.1e}"),
        ("images whose best logits tie", f"{proof['ties']}"),
        ("images that float32 torch classifies otherwise", "not measured" if differs is None else f"{differs}"),
        ("equal classes in qonnx's own executor", f"{proof['qonnx_equal']} of {proof['qonnx_images']}"),
    ]


def print_comparison(folder: Path) -> None:
    """Print the table and the verdict of a comparison.

    Args:
        folder: that ``qtrain compare`` wrote.

    Raises:
        UserError: its files are missing or damaged.
    """
    data, console = read_comparison(folder), _console()
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for i, head in enumerate(COMPARISON_HEAD):
        table.add_column(_text(head, console), justify="right" if i else "left", overflow="fold", vertical="bottom")
    for row in comparison_rows(data):
        table.add_row(*(_text(cell or "-", console) for cell in row))
    console.print(table)
    holds, sentence = verdict(data)
    notes = {sentence: "bold green" if holds else "bold red", seeds_note(data): "dim", tuned_note(data): "dim"}
    for note, style in notes.items():  # a pipe gets each sentence as one line
        console.print(_text(note, console, style), soft_wrap=not console.is_terminal)


def print_proof(proof: Mapping[str, Any]) -> None:
    """Print the numbers of a proof.

    Args:
        proof: the fields of ``qtrain.export.verify.Proof``.
    """
    console = _console()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for what, number in proof_rows(proof):
        table.add_row(_text(what, console), _text(number, console, "bold"))
    console.print(table)


def print_estimate(build: Mapping[str, Any], board: Mapping[str, Any]) -> None:
    """Print FINN's verdict and its estimates against what the board has.

    Args:
        build: the fields of ``qtrain.export.verdict.BuildResult``.
        board: the fields of ``qtrain.export.boards.Board``.
    """
    console = _console()
    checks = ", ".join(build["verified"]) or "none"
    console.print(_text(f"Graphs that FINN executed and that answered as torch did: {checks}", console), soft_wrap=True)
    console.print(_text(f"FINN's estimates on {board['name']}, optimistic before synthesis:", console), soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    for what, number in estimate_rows(build, board):
        table.add_row(_text(what, console), _text(number, console, "bold"))
    console.print(table)


def estimate_rows(build: Mapping[str, Any], board: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What FINN estimated, one row each; nothing where it wrote no estimates."""
    rows = []
    if build["fps"] is not None:
        rows += [("frames a second", f"{build['fps']:,.0f}"), ("latency", f"{build['latency_ns'] / 1e6:,.2f} ms")]
    for key, name in (("lut", "LUT"), ("bram_18k", "BRAM_18K"), ("uram", "URAM"), ("dsp", "DSP")):
        if build[key] is not None:
            share = f" ({build[key] / board[key]:.0%})" if board[key] else ""
            rows.append((name, f"{build[key]:,} of {board[key]:,}{share}"))
    return rows


def _console() -> Console:
    return Console(highlight=False)


def _text(value: str, console: Console, style: str = "") -> Text:
    """Plain text, never read as markup; in ASCII where the terminal's encoding has nothing else."""
    if not console.encoding.lower().startswith("utf"):
        value = value.replace("±", "+/-").encode("ascii", "replace").decode()
    return Text(value, style)

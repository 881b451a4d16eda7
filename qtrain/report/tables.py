"""Tables of a comparison, a proof and an estimate, printed on the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtrain.report.comparison import TableData, comparison_tables, notes, verdict
from qtrain.report.console import ReportConsole
from qtrain.report.read import read_comparison


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
    for i, table in enumerate(comparison_tables(data)):
        if i:
            console.print()
        print_table(table, console)
    holds, sentence = verdict(data)
    print_notes({sentence: "bold green" if holds else "bold red", **dict.fromkeys(notes(data), "dim")}, console)


def print_table(table: TableData, console: Console, left: int = 1) -> None:
    """Print a table of text, its first ``left`` columns flush left."""
    grid = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for i, head in enumerate(table.head):
        justify: Any = "right" if i >= left else "left"
        grid.add_column(_text(head, console), justify=justify, overflow="fold", vertical="bottom")
    for row in table.rows:
        grid.add_row(*(_text(cell if cell or i < left else "-", console) for i, cell in enumerate(row)))
    console.print(grid)


def print_notes(styles: Mapping[str, str], console: Console) -> None:
    """Print sentences in their styles; a pipe gets each as one line."""
    for note, style in styles.items():
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
    return ReportConsole(highlight=False)


def _text(value: str, console: Console, style: str = "") -> Text:
    """Plain text, never read as markup; in ASCII where the terminal's encoding has nothing else."""
    if not console.encoding.lower().startswith("utf"):
        value = value.replace("±", "+/-").encode("ascii", "replace").decode()
    return Text(value, style)

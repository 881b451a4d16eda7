"""Tables of text, and how they are printed on the terminal and written as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from qtrain.report.console import plain_text

EMPTY = "-"  # how an empty cell is printed


@dataclass(frozen=True)
class TableData:
    """A table as text: column heads (line breaks where they may wrap), and the rows."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def print_table(table: TableData, console: Console, left: int = 1) -> None:
    """Print a table of text, its first ``left`` columns flush left."""
    printed = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for i, head in enumerate(table.head):
        justify: Any = "left" if i < left else "right"
        printed.add_column(plain_text(head, console), justify=justify, overflow="fold", vertical="bottom")
    for row in table.rows:
        words = row[:left]
        numbers = [cell or EMPTY for cell in row[left:]]
        cells = [plain_text(cell, console) for cell in (*words, *numbers)]
        printed.add_row(*cells)
    console.print(printed)


def print_facts(facts: Iterable[tuple[str, str]], console: Console) -> None:
    """Print what was found and the number, a line each."""
    printed = Table(box=None, show_header=False, pad_edge=False)
    printed.add_column(overflow="fold")
    printed.add_column(justify="right", no_wrap=True)
    for what, number in facts:
        printed.add_row(plain_text(what, console), plain_text(number, console, "bold"))
    console.print(printed)


def print_notes(styles: Mapping[str, str], console: Console) -> None:
    """Print sentences in their styles; a pipe gets each as one line."""
    for note, style in styles.items():
        console.print(plain_text(note, console, style), soft_wrap=not console.is_terminal)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown, without a line break at its end; its cells are Markdown already."""
    rule = ["---"] * len(head)
    lines = [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
    return "\n".join(lines)

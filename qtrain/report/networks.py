"""Tables of `qtrain models`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from qtrain.report.console import ReportConsole, plain_text, report_console

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
ZOO_HEAD = (
    "network",
    "structure",
    "images",
    "parameters",
    "MACs",
    "weight bits (1 to 8 a weight)",
    "finn-plus, estimate-only",
    "published top-1",
)


_WHOLE = 150  # columns of a terminal that hold the whole table
_FEW = 5  # columns of the table for others


def amount_text(number: float) -> str:
    """Return 1,542,848 as ``1.54 M``."""
    for size, unit in _UNITS:
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number:g}"


def zoo_rows(zoo: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the columns of `ZOO_HEAD` for each family."""
    return [
        (
            row["network"],
            row["about"],
            row["images"],
            amount_text(row["parameters"]),
            amount_text(row["macs"]),
            _weight_bits_text(row),
            row["finn"],
            "; ".join(row["published"]),
        )
        for row in zoo
    ]


def _weight_bits_text(row: Mapping[str, Any]) -> str:
    """Return the memory of a family's weights from 1 to 8 bits a weight; of one that is float alone at 32."""
    if row["float_only"]:
        return amount_text(32 * row["weights"])
    return f"{amount_text(row['weights'])} to {amount_text(8 * row['weights'])}"


def _print(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
    console = ReportConsole(width=None if Console().is_terminal else 240)
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    numbers = range(left, left + 4)  # columns flush right
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i in numbers else "left", vertical="top", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_zoo(zoo: Sequence[Mapping[str, Any]]) -> None:
    """Print one row a family.

    Args:
        zoo: rows of ``qtrain.experiments.zoo.zoo``.
    """
    columns = len(ZOO_HEAD) if not Console().is_terminal or Console().width >= _WHOLE else _FEW
    rows = [row[:columns] for row in zoo_rows(zoo)]
    _print(ZOO_HEAD[:columns], rows, 3)
    print("Sizes at --width 1. FAMILY_<bits>W<bits>A is a network: CNV_1W2A, CNV_FLOAT.")
    print("`qtrain models CNV` tells of a family, `qtrain models CNV_1W1A` of its layers.")


def print_family(row: Mapping[str, Any], recipes: Sequence[str]) -> None:
    """Print what is known of one family, a line a fact.

    Args:
        row: of ``qtrain.experiments.zoo.zoo``.
        recipes: data sets that it has a recipe of its own for.
    """
    name = row["network"]
    bits = "FLOAT" if row["float_only"] else "4W4A"
    facts = dict(zip(ZOO_HEAD[1:], zoo_rows([row])[0][1:], strict=True))
    facts["recipes of its own"] = ", ".join(recipes)
    facts["names"] = f"{name}_FLOAT" if row["float_only"] else f"{name}_1W1A to {name}_8W8A"
    width = max(map(len, facts))
    console = report_console()
    console.print(plain_text(name, console, "bold"))
    for fact, value in facts.items():
        console.print(plain_text(f"  {fact:{width}}  {value or '-'}", console), soft_wrap=True)
    data = recipes[0] if recipes else "cifar10"
    print(f"\nqtrain models {name}_{bits} lists its layers; qtrain train {name}_{bits} --data {data} trains it.")


def print_layers(network: str, layers: Sequence[Mapping[str, Any]], activations: Mapping[str, int]) -> None:
    """Print a network's layers, then its activation quantizers.

    Args:
        network: its name.
        layers: path, weights, weight_bits, macs and output of each.
        activations: bits by path.
    """
    rows = []
    for layer in layers:
        output = "x".join(map(str, layer["output"]))
        rows.append((layer["path"], output, f"{layer['weights']:,}", str(layer["weight_bits"]), f"{layer['macs']:,}"))
    _print(("layer", "output", "weights", "bits", "MACs"), rows, 2)
    bits = sum(layer["weights"] * layer["weight_bits"] for layer in layers)
    macs = sum(layer["macs"] for layer in layers)
    print(f"{network}: {amount_text(macs)} MACs an image, {amount_text(bits)} weight bits")
    if activations:
        listed = ", ".join(f"{path}={width}" for path, width in activations.items())
        print(f"activations: {listed}")

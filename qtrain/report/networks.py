"""Tables of `qtrain models`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from qtrain.report.console import ReportConsole

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(number: float) -> str:
    """1,542,848 as 1.54 M."""
    for size, unit in _UNITS:
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number:g}"


def zoo_rows(zoo: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The columns of `ZOO_HEAD` for each family."""
    return [
        (
            row["network"],
            row["about"],
            row["images"],
            short(row["parameters"]),
            short(row["macs"]),
            short(32 * row["weights"])
            if row["float_only"]
            else f"{short(row['weights'])} to {short(8 * row['weights'])}",
            row["finn"],
            "; ".join(row["published"]),
        )
        for row in zoo
    ]


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


def _print(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> None:
    console = ReportConsole(width=None if Console().is_terminal else 240)
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i < left or i > left + 3 else "right", vertical="top", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_zoo(zoo: Sequence[Mapping[str, Any]]) -> None:
    """Print one row a family.

    Args:
        zoo: rows of ``qtrain.experiments.networks.zoo``.
    """
    _print(ZOO_HEAD, zoo_rows(zoo), 3)
    print("Sizes at --width 1. FAMILY_<bits>W<bits>A names a network, FAMILY_FLOAT its unquantized twin;")
    print("`qtrain models NETWORK` lists its layers, whose paths --bits takes.")


def print_layers(network: str, layers: Sequence[Mapping[str, Any]], activations: Mapping[str, int]) -> None:
    """Print a network's layers, then its activation quantizers.

    Args:
        network: its name.
        layers: path, weights, weight_bits, macs and output of each.
        activations: bits by path.
    """
    rows = [
        (
            layer["path"],
            "x".join(map(str, layer["output"])),
            f"{layer['weights']:,}",
            str(layer["weight_bits"]),
            f"{layer['macs']:,}",
        )
        for layer in layers
    ]
    _print(("layer", "output", "weights", "bits", "MACs"), rows, 2)
    bits = sum(layer["weights"] * layer["weight_bits"] for layer in layers)
    macs = sum(layer["macs"] for layer in layers)
    print(f"{network}: {short(macs)} MACs an image, {short(bits)} weight bits")
    if activations:
        print(f"activations: {', '.join(f'{path}={width}' for path, width in activations.items())}")

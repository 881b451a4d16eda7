"""The live page: one file with its styles and scripts, the same for every folder but for its title."""

from importlib import resources
from pathlib import Path

from markupsafe import Markup

from qtrain.report.pages import fill_page
from qtrain.report.watch.state import CURVES

# of the table: what it shows of a row, its head, whether it is a number
COLUMNS = (
    ("folder", "run", False),
    ("network", "network", False),
    ("data", "data", False),
    ("scheduler", "scheduler", False),
    ("seed", "seed", True),
    ("epochs", "epochs", True),
    ("best", "best validation, %", True),
    ("test", "test, %", True),
    ("state", "state", False),
    ("proof", "proof", False),
    ("lut", "LUT", True),
    ("fps", "frames/s", True),
    ("seconds_left", "time left", True),
)
CHARTS = (
    ("loss", "Training loss", True),
    ("validation_accuracy", "Validation accuracy, %", False),
    ("lr", "Learning rate", True),
)
# of curves, on a light and on a dark screen
CURVE_COLOURS = (
    *(("#0072b2", "#56b4e9"), ("#b34700", "#f0a043"), ("#00734f", "#3fc79a"), ("#9b3486", "#e58ad0")),
    *(("#6b5a00", "#d6c64a"), ("#3f51b5", "#9aa8ff"), ("#a01c1c", "#ff8f80"), ("#555b66", "#c0c8d2")),
)


def render_page(folder: Path) -> str:
    """Return the page of a folder; what it shows comes later, from its server."""
    name = folder.resolve().name or str(folder)
    return fill_page(
        "watch/watch.html",
        {f"run{i}": pair for i, pair in enumerate(CURVE_COLOURS)},
        title=f"{name} - qtrain watch",
        heading=name,
        folder=str(folder),
        styles=_file("watch.css"),
        live=_file("watch.js"),
        columns=COLUMNS,
        charts=CHARTS,
        most=CURVES,
    )


def _file(name: str) -> Markup:
    """Return one of the files beside this one, which hold no text of anybody else's."""
    return Markup((resources.files("qtrain.report.watch") / name).read_text(encoding="utf-8"))

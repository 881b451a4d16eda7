"""Rules about errors: what it means that torch cannot export a network, or that nobody can read a graph."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qtrain.export.lint.finding import WHOLE, Spot


def error_line(error: Exception) -> str:
    """Return an error's kind with the first line of what it says."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = text.partition(" [Caused by")[0].strip()
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def not_exported(error: Exception) -> Iterator[Spot]:
    """Name the module that torch was in when it could not go on, and what it stopped at, as far as its error tells."""
    scope = re.search(r"scope: ([^#\n]+)", str(error))
    parts = [part.rpartition("::")[2].strip() for part in scope[1].split("/")[1:]] if scope else []
    says = f"nothing: torch cannot export it ({error_line(error)})"
    yield Spot(".".join(parts) or WHOLE, says, mend=_export_mend(str(error)))


def _export_mend(said: str) -> str:
    """Return the mend for the operator that torch stopped at; empty where it names none, or one not by its fault."""
    uneven = re.search(r"operator (\w+), output size that are not factor of input size", said)
    if uneven:
        return f"give {uneven[1]} an output size that divides the size of what it reads"
    unknown = re.search(r"Exporting the operator '(?:\w+::)?(\w+)' to ONNX", said)
    if unknown:
        return (
            f"do without {unknown[1]}: what it does to images belongs before the network, what it does to features "
            "into convolutions, linear layers, pools and quantizers"
        )
    return ""


def unreadable(error: Exception) -> Iterator[Spot]:
    """Say why a graph cannot be read."""
    yield Spot(WHOLE, unreadable_words(error_line(error)))


def unreadable_words(why: str) -> str:
    """Return what is said of a graph that cannot be read."""
    return f"nothing: the graph cannot be read ({why})"

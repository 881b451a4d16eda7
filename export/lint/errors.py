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
    """Name the module that torch was in when it could not go on, as far as its error tells."""
    scope = re.search(r"scope: ([^#\n]+)", str(error))
    parts = [part.rpartition("::")[2].strip() for part in scope[1].split("/")[1:]] if scope else []
    yield Spot(".".join(parts) or WHOLE, f"nothing: torch cannot export it ({error_line(error)})")


def unreadable(error: Exception) -> Iterator[Spot]:
    """Say why a graph cannot be read."""
    yield Spot(WHOLE, unreadable_words(error_line(error)))


def unreadable_words(why: str) -> str:
    """Return what is said of a graph that cannot be read."""
    return f"nothing: the graph cannot be read ({why})"

"""Colours of pages, one for a light and one for a dark screen, and what keeps them readable."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from qtrain.schedulers.catalogue import Dashes, row_of

Pair = tuple[str, str]  # on a light screen, on a dark one
TEXT = 4.5  # least contrast of text with what lies behind it: WCAG 2.2, criterion 1.4.3
GRAPHICS = 3.0  # of lines and markers: criterion 1.4.11

# The colours of every page, by the name of their CSS variable.
THEME: dict[str, Pair] = {
    "page": ("#f6f7f9", "#12161c"),
    "card": ("#ffffff", "#1b212a"),
    "ink": ("#1c2330", "#e6e9ee"),
    "soft": ("#5b6472", "#9aa5b4"),
    "line": ("#e1e5ea", "#2e3743"),
    "edge": ("#7a8390", "#76818f"),
    "code": ("#f1f3f6", "#12161c"),
    "good": ("#006b4f", "#5fd3ae"),
    "good-back": ("#e3f4ee", "#12312a"),
    "bad": ("#a63c00", "#ffab73"),
    "bad-back": ("#fdeee4", "#3a2416"),
    "open": ("#3f4957", "#c9d1dc"),
    "open-back": ("#e9ecf0", "#29313c"),
    "focus": ("#9a6700", "#ffd166"),
}
_PLOTLY_DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
_SVG_DASHES = {"-": "", "--": "6 3", "-.": "6 3 1.5 3", ":": "1.5 3"}
_PLOTLY_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "^": "triangle-up",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "p": "pentagon",
    "<": "triangle-left",
    ">": "triangle-right",
}
_WIDTH = 2  # of a line, pixels; Matplotlib counts dashes in it
# Outlines of the markers around the middle of a swatch of 34 by 12.
_OUTLINES = {
    "o": "M17 2a4 4 0 1 0 .01 0z",
    "s": "M13 2h8v8h-8z",
    "D": "M17 1l5 5-5 5-5-5z",
    "^": "M17 1l5 9h-10z",
    "v": "M17 11l5-9h-10z",
    "P": "M15 1h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
    "X": "M14 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z",
    "p": "M17 1l5 4-2 6h-6l-2-6z",
    "<": "M12 6l9-5v10z",
    ">": "M22 6l-9-5v10z",
}


@dataclass(frozen=True)
class Look:
    """How a page shows a scheduler.

    Attributes:
        variable: of CSS, that holds its colour.
        dash: of its lines, as plotly has them.
        symbol: of its points, as plotly has them.
        swatch: a short line with the marker, as it stands in tables and legends.
    """

    variable: str
    dash: str
    symbol: str
    swatch: Markup


def looks_of(schedulers: Sequence[str]) -> dict[str, Look]:
    """Return how a page shows these schedulers, by name."""
    looks = {}
    for i, name in enumerate(schedulers):
        row = row_of(name)
        variable = f"scheduler-{i}"
        looks[name] = Look(
            variable, _plotly_dash(row.dashes), _PLOTLY_SYMBOLS[row.marker], swatch(variable, row.marker, row.dashes)
        )
    return looks


def colours_of(schedulers: Sequence[str]) -> dict[str, Pair]:
    """Return a colour on a light and one on a dark screen for each scheduler, by the CSS variable of its look."""
    return {f"scheduler-{i}": both(row_of(name).colour) for i, name in enumerate(schedulers)}


def both(colour: str) -> Pair:
    """Return a colour made darker and lighter until it can be told from a card, on a light and on a dark screen."""
    light, dark = THEME["card"]
    return readable(colour, light), readable(colour, dark)


def readable(colour: str, back: str, least: float = GRAPHICS) -> str:
    """Return a colour with enough contrast: itself, or nearer to black on a light ground, to white on a dark one.

    Args:
        colour: six hexadecimal digits, as all here.
        back: what it lies on.
        least: contrast that it must have, 1 to 21.
    """
    end = 0 if _luminance(back) > 0.18 else 255  # 0.18: where black and white have the same contrast
    channels = _channels(colour)
    found = colour
    for step in range(1, 101):
        if contrast(found, back) >= least:
            break
        mixed = [round(value + (end - value) * step / 100) for value in channels]
        found = "#" + "".join(f"{value:02x}" for value in mixed)
    return found


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it, 1 (none) to 21 (black and white)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    """Return WCAG's relative luminance, 0 to 1."""
    red, green, blue = (_linear(value / 255) for value in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _plotly_dash(dashes: Dashes) -> str:
    if isinstance(dashes, str):
        return _PLOTLY_DASHES[dashes]
    return ",".join(f"{_WIDTH * length}px" for length in dashes[1])


def swatch(variable: str, marker: str, dashes: Dashes | None = None) -> Markup:
    """Return a picture of a marker, on a line where it has one; a name is beside it, so nobody needs it read out.

    Args:
        variable: of CSS, that holds its colour.
        marker: as Matplotlib has it.
        dashes: of the line, as Matplotlib has them.
    """
    line = Markup()
    if dashes is not None:
        pattern = _SVG_DASHES[dashes] if isinstance(dashes, str) else " ".join(str(length) for length in dashes[1])
        line = Markup('<path d="M0 6h34" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="{}"/>')
        line = line.format(pattern)
    return Markup(
        '<svg class="swatch" viewBox="0 0 34 12" aria-hidden="true" style="color:var(--{variable})">{line}'
        '<path d="{outline}" fill="currentColor"/></svg>'
    ).format(variable=variable, line=line, outline=_OUTLINES[marker])

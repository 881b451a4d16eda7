"""Numbers and states of runs in words."""

from qtrain.report.runs.read import Several

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def several_line(several: Several) -> str:
    """Return where a comparison or sweep is, in words."""
    counts = ", ".join(f"{count} {name}" for name, count in several.cells.items() if count)
    line = f"{several.folder}: {several.kind}, {several.state}"
    if counts:
        line += f"; cells: {counts}"
    if several.seconds_left:
        line += f", about {duration(several.seconds_left)} left"
    return line


def duration(seconds: float) -> str:
    """Return a time in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def amount(value: float | None) -> str:
    """Return a number with three digits, as in 52.3k; nothing where it is not known."""
    if value is None:
        return ""
    value = float(f"{value:.3g}")  # 999,999 is 1M
    for size, unit in _UNITS:
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"

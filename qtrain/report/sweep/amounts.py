"""Amounts of any size in a few characters."""

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float) -> str:
    """Return a number in three digits with k, M, G or T, as axes and tables show it."""
    for scale, unit in _UNITS:
        if abs(value) >= 0.9995 * scale:  # 999.6 is 1k in three digits
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"

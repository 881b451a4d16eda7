"""Parameters of which the quick suite tries some, and the slow one the rest."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def sampled(values: Iterable[Any], quick: Collection[Any], id: Any = None) -> list[Any]:
    """Mark all parameters but ``quick`` as slow.

    Args:
        values: of the parameter, or tuples of several parameters' values.
        quick: those of them that the quick suite tries too; it fails where one of them is not among the values.
        id: returns the name of a value.
    """
    found = list(values)
    assert all(value in found for value in quick), "a quick parameter is none of the values"
    marked = []
    for value in found:
        parts = value if isinstance(value, tuple) else (value,)
        marks = () if value in quick else pytest.mark.slow
        marked.append(pytest.param(*parts, marks=marks, id=None if id is None else id(value)))
    return marked

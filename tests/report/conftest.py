"""Fixtures of the reports' tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import start_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium, without a window."""
    yield from start_browser()

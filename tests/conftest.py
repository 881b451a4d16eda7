"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cifar_root() -> Path:
    """Return the folder with the real CIFAR files."""
    root = os.environ.get("QTRAIN_DATA")
    if not root:
        pytest.skip("needs the real CIFAR files: set QTRAIN_DATA to their folder")
    return Path(root)

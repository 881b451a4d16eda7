"""Small packages as pip leaves them: modules, and metadata with entry points, in a folder of ``sys.path``."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def install(folder: Path, package: str, entry_points: str, modules: Mapping[str, str]) -> None:
    """Install a package.

    Args:
        folder: where to; put it on ``sys.path``, or into PYTHONPATH.
        package: the distribution's name.
        entry_points: the text of ``entry_points.txt``.
        modules: source by the module's name.
    """
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    metadata = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)


class Site:
    """A folder of installed packages for one test; what they add to qtrain is gone after it.

    Args:
        folder: new, put on ``sys.path``.
        monkeypatch: of the test.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        from qtrain.data.catalogue import DATASETS
        from qtrain.export.compiler.boards import BOARDS
        from qtrain.models.zoo import FAMILIES
        from qtrain.schedulers.catalogue import SCHEDULERS

        folder.mkdir()
        monkeypatch.syspath_prepend(folder)
        self._folder, self._monkeypatch = folder, monkeypatch
        for registry in (FAMILIES, DATASETS, SCHEDULERS, BOARDS):
            for memory in ("_loaded", "_packages", "_warned"):
                monkeypatch.setattr(registry, memory, type(getattr(registry, memory))())

    def add(self, group: str, name: str, source: str) -> None:
        """Install the package ``qtrain-NAME``, whose module ``qtrain_NAME`` has a ``ROW`` of this name for a group."""
        module = f"qtrain_{name.lower()}"
        self._monkeypatch.setitem(sys.modules, module, sys)  # so that it is taken away after the test
        del sys.modules[module]
        entry = f"[{group}]\n{name} = {module}:ROW\n"
        install(self._folder, f"qtrain-{name.lower()}", entry, {module: source})

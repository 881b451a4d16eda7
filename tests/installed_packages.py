"""Small packages as pip leaves them: modules, and metadata with entry points, in a folder of ``sys.path``."""

from collections.abc import Mapping
from pathlib import Path


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

"""Where models, training and export meet: single runs, and comparisons of schedulers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qtrain.experiments.comparison.compare import Comparison, compare
    from qtrain.experiments.export import export_run
    from qtrain.experiments.run import load_run, resume_run, train_recipe

__all__ = ["Comparison", "compare", "export_run", "load_run", "resume_run", "train_recipe"]
_MODULES = {
    "Comparison": "comparison.compare",
    "compare": "comparison.compare",
    "export_run": "export",
    "load_run": "run",
    "resume_run": "run",
    "train_recipe": "run",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: what needs no torch here is then had without it.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Sweeps: every bit width of a network trained, proven and estimated, and searches for each layer's bits."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qtrain.experiments.sweep.plan import plan_sweep
    from qtrain.experiments.sweep.run import resume_sweep, sweep

__all__ = ["plan_sweep", "resume_sweep", "sweep"]
_MODULES = {"plan_sweep": "plan", "resume_sweep": "run", "sweep": "run"}


def __getattr__(name: str) -> Any:
    # Loaded on first use: the axes of a sweep are read without torch.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

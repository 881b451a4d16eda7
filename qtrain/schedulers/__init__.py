"""Learning-rate schedulers: ASLR, transition-rate scheduling and plain schedules of the epoch, all in ``catalogue``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qtrain.schedulers.aslr import ASLR
    from qtrain.schedulers.parameter_groups import layer_groups
    from qtrain.schedulers.transition import QuantizedWeight, TransitionRate, transition_groups

__all__ = ["ASLR", "QuantizedWeight", "TransitionRate", "layer_groups", "transition_groups"]
_MODULES = {
    "ASLR": "aslr",
    "QuantizedWeight": "transition",
    "TransitionRate": "transition",
    "layer_groups": "parameter_groups",
    "transition_groups": "transition",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: recipes and reports read the catalogue, and need no torch.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

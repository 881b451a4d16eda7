"""Quantized networks, built by name at any bit width."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qtrain.models.check import check_network
from qtrain.models.names import NetworkName, parse_name
from qtrain.models.scalings import Scaling
from qtrain.models.zoo import FAMILIES, Family

if TYPE_CHECKING:
    from qtrain.models.build import build_model
    from qtrain.models.network import Network

__all__ = ["FAMILIES", "Family", "Network", "NetworkName", "Scaling", "build_model", "check_network", "parse_name"]
_MODULES = {"Network": "network", "build_model": "build"}


def __getattr__(name: str) -> Any:
    # Loaded on first use: names are checked without torch and Brevitas, which take seconds.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

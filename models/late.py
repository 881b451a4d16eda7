"""What is imported when it is called: tables can then name it without torch and Brevitas, which take seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Late:
    """A class or function as ``module:name``, with arguments that are fixed already.

    Attributes:
        reference: where it is.
        fixed: keyword arguments that every call gets.
    """

    reference: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Import it, call it, and return what it returns."""
        module, _, name = self.reference.partition(":")
        return getattr(import_module(module), name)(*args, **self.fixed, **options)


def network(reference: str, **fixed: Any) -> Late:
    """Name a network's class as ``module:Class``, the module one of ``qtrain.models``."""
    return Late(f"qtrain.models.{reference}", fixed)

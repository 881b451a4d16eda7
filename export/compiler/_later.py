"""Modules that FINN imports and an estimate never uses, imported when something of them is asked for.

They take most of the compiler's start: torch and SciPy for three layers' Python models, scikit-learn and pandas for
estimates that were learned from synthesis, which need a folder of models that nobody gives, and ONNX Script with SymPy
for two ways into FINN that an estimate does not go.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class Later(types.ModuleType):
    """Takes a module's place until something of it is asked for; then all of its group are imported."""

    def __init__(self, name: str, group: Sequence[str]):
        super().__init__(name)
        self._group = tuple(group)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real(), name)

    def _real(self) -> types.ModuleType:
        for name in self._group:
            if isinstance(sys.modules.get(name), Later):
                del sys.modules[name]
        module = importlib.import_module(self.__name__)
        for name, value in list(vars(self).items()):
            if isinstance(value, _LaterClass):
                setattr(self, name, getattr(module, name))  # who asks from now on gets the real class
        return module


class _LaterClass(type):
    """A class of such a module: may be named, and is the real one's as soon as something of it is asked for."""

    home: Later

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(getattr(cls.home._real(), cls.__name__), name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return getattr(cls.home._real(), cls.__name__)(*args, **kwargs)


def _later_function(home: Later, name: str) -> Callable[..., Any]:
    """A function of such a module: the real one is imported when it is called."""

    def function(*args: Any, **kwargs: Any) -> Any:
        return getattr(home._real(), name)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__module__ = home.__name__
    return function


def import_later(*names: str, classes: Sequence[str] = (), functions: Sequence[str] = ()) -> None:
    """Let a module and modules inside it be imported later; those that are imported, or are not there, stay so.

    Args:
        names: outermost first, each inside the one before.
        classes: of the first module, that others name in annotations.
        functions: of the first module, that others import by name.
    """
    if names[0] in sys.modules or importlib.util.find_spec(names[0]) is None:
        return
    for name in names:
        sys.modules[name] = Later(name, names)
    home: Any = sys.modules[names[0]]
    for name in classes:
        setattr(home, name, _LaterClass(name, (), {"home": home}))
    for name in functions:
        setattr(home, name, _later_function(home, name))
    for name in names[1:]:
        outer, _, inner = name.rpartition(".")
        setattr(sys.modules[outer], inner, sys.modules[name])


def import_names_later(name: str) -> None:
    """Let a module be imported later of which others import texts, classes and functions by name.

    The texts are read from its source.

    Args:
        name: of a module that is a file.
    """
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return
    module = Later(name, [name])
    for node in ast.parse(Path(spec.origin).read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    setattr(module, target.id, node.value.value)
        if isinstance(node, ast.ClassDef):
            setattr(module, node.name, _LaterClass(node.name, (), {"home": module}))
        if isinstance(node, ast.FunctionDef):
            setattr(module, node.name, _later_function(module, node.name))
    sys.modules[name] = module
    outer, _, inner = name.rpartition(".")
    setattr(sys.modules[outer], inner, module)

"""Brevitas without what its import drags along and no network needs: half of what it takes beyond torch's own.

Three of its lines load whole packages for one name each: ``torch._dynamo.is_compiling`` torch's compiler with sympy
(1.2 s of CPU time), ``torch.utils.cpp_extension`` setuptools, and ``scipy.linalg.hadamard`` SciPy. Each finds here
something that stands in for it and loads the real one when it is used. Where these are loaded already, nothing
changes.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_WHOLE = "brevitas"
_CLASSIFIER = "brevitas.nn.hadamard_classifier"
_DYNAMO = "torch._dynamo"
_EXTENSIONS = "torch.utils.cpp_extension"
_LINALG = "scipy.linalg"


def install() -> None:
    """See to it that the first import of Brevitas is such a one; a second call changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds nothing itself: it prepares what two modules of Brevitas are about to ask for."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Prepare the import of Brevitas, and that of its classifier; all else is left to the others."""
        if name == _WHOLE:
            _defer_torch()
        if name == _CLASSIFIER and _LINALG not in sys.modules:
            return _with_late_hadamard(PathFinder.find_spec(name, path, target))
        return None


class _Late(ModuleType):
    """Stands in for a module that is loaded when a name is asked for that this one lacks."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the machinery of imports asks of every module
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(self.__name__), name)


def _defer_torch() -> None:
    """Give torch a ``_dynamo`` that knows ``is_compiling``, and a builder of extensions; importing replaces them."""
    import torch

    if _DYNAMO not in sys.modules:
        late = _Late(_DYNAMO)
        late.is_compiling = torch.compiler.is_compiling  # type: ignore[attr-defined]  # what the real one returns
        torch._dynamo = late
    if _EXTENSIONS not in sys.modules:
        torch.utils.cpp_extension = _Late(_EXTENSIONS)  # type: ignore[attr-defined]


def _with_late_hadamard(spec: ModuleSpec | None) -> ModuleSpec | None:
    """Return the specification of Brevitas' classifier, whose import finds a function in place of SciPy."""
    if spec is None or spec.loader is None or find_spec("scipy") is None:
        return spec
    run: Callable[[ModuleType], None] = spec.loader.exec_module

    def run_with_hadamard(module: ModuleType) -> None:
        with _hadamard_in_place():
            run(module)

    spec.loader.exec_module = run_with_hadamard  # type: ignore[method-assign]
    return spec


@contextmanager
def _hadamard_in_place() -> Iterator[None]:
    """Inside, SciPy's matrices are one function, which calls the real one."""
    late = _Late(_LINALG)
    late.hadamard = _hadamard  # type: ignore[attr-defined]
    sys.modules[_LINALG] = late
    try:
        yield
    finally:
        del sys.modules[_LINALG]


def _hadamard(*args: Any, **options: Any) -> Any:
    """Return SciPy's matrix of this name."""
    return import_module(_LINALG).hadamard(*args, **options)

"""Code of one's own, named on the command line: ``my_module:name`` from the current folder, or ``path/file.py:name``.

A package's names come through entry points (``qtrain.plugins``); this is for a file that nobody installs. Importing
executes it, so it happens only where something is to be built or loaded, never where a folder is read or verified.
"""

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtrain.errors import UserError, is_out_of_files
from qtrain.records.plain_files import read_plain

_SUFFIX = ".py"


@dataclass(frozen=True)
class Reference:
    """A name inside a module or a file.

    Attributes:
        place: a module as ``import`` has it, or the path of a ``.py`` file.
        name: inside it; dots lead into what is found.
    """

    place: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether the place is a file's path instead of a module."""
        return self.place.endswith(_SUFFIX)

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"


def parse_reference(text: str, what: str) -> Reference:
    """Read ``my_module:name`` or ``path/to/file.py:name``.

    Args:
        text: as given.
        what: the name stands for, as in ``MyNet``, for the error.

    Raises:
        UserError: it has another form.
    """
    place, _, name = text.rpartition(":")
    is_file = place.endswith(_SUFFIX)
    is_module = all(part.isidentifier() for part in place.split("."))
    is_name = all(part.isidentifier() for part in name.split("."))
    if not is_name or not (is_file or is_module):
        raise UserError(
            f"{text!r} names no code of yours; write my_module:{what} for {what} in my_module.py here, or "
            f"path/to/my_module.py:{what}"
        )
    return Reference(place, name)


def load_reference(reference: Reference, describe: Callable[[Any], str] = lambda _: "") -> Any:
    """Import what a reference names.

    Args:
        reference: whose module is looked for in the current folder first.
        describe: says what the module has instead, where it lacks the name.

    Raises:
        UserError: there is no such file or module, importing it fails, or the name is not in it.
    """
    with current_folder_first():
        module = _file(Path(reference.place)) if reference.is_file else _module(reference.place)
    found: Any = module
    for part in reference.name.split("."):
        if not hasattr(found, part):
            raise UserError(f"{reference.place} has no {reference.name}{describe(module)}")
        found = getattr(found, part)
    return found


def call_with(reference: Reference, factory: Callable[..., Any], offered: Mapping[str, Any], mend: str) -> Any:
    """Call code of one's own with what its signature has a name for.

    Args:
        reference: that the code is named by, for errors.
        factory: a class or function.
        offered: arguments by name; those that the signature has no name for are left out.
        mend: what to do where it needs others too; the error's end.

    Raises:
        UserError: it needs other arguments, or fails.
    """
    names = argument_names(factory)
    given = {name: value for name, value in offered.items() if names is None or name in names}
    missing = [name for name in required_arguments(factory) if name not in given]
    if missing:
        raise UserError(f"{reference} needs arguments ({', '.join(missing)}); {mend}")
    try:
        with current_folder_first():  # it may import when it is called
            return factory(**given)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody else's code does
        if is_out_of_files(error):
            raise
        raise UserError(f"{reference} fails when it is called ({one_line(error)}); mend it") from error


def argument_names(factory: Callable[..., Any]) -> frozenset[str] | None:
    """Return the names of the arguments that can be given by name; None where any name can."""
    parameters = _parameters(factory)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(parameter.name for parameter in parameters if parameter.kind in by_name)


def required_arguments(factory: Callable[..., Any]) -> list[str]:
    """Return the names of the arguments without a default."""
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [given for given in _parameters(factory) if given.default is given.empty and given.kind not in optional]
    return [given.name for given in needed]


def source_of(reference: Reference) -> Path | None:
    """Return the file that a reference's code lies in; None where it has none, as in a notebook.

    It is found as ``import`` would find it; nothing of it is executed, only the packages above it are.
    """
    if reference.is_file:
        return Path(reference.place) if Path(reference.place).is_file() else None
    loaded = sys.modules.get(reference.place)
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
        return None if origin is None else Path(origin)
    with current_folder_first():
        try:
            spec = importlib.util.find_spec(reference.place)
        except (ImportError, ValueError, AttributeError):
            return None
    return None if spec is None or not spec.has_location or spec.origin is None else Path(spec.origin)


def checksum(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(read_plain(path)).hexdigest()


@contextmanager
def current_folder_first() -> Iterator[None]:
    """Inside, modules are looked for in the current folder before all others."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def one_line(error: BaseException) -> str:
    """Return an error's kind and the first line of what it says."""
    kind = type(error).__name__
    for line in str(error).splitlines():
        if line.strip():
            return f"{kind}: {line.strip()[:160]}"
    return kind


def _parameters(factory: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):  # built-ins without a signature: calling them tells
        return []


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if is_out_of_files(error):
            raise
        raise UserError(f"cannot import {name} from {Path.cwd()} ({one_line(error)}); mend it or go there") from error


def _file(path: Path) -> Any:
    """Import a file; its own folder is looked in too, as for a script."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; name a .py file with the code in it")
    name = f"qtrain_own_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"{path} cannot be imported; name a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that its classes can be pickled, and it is executed once
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if is_out_of_files(error):
            raise
        raise UserError(f"cannot import {path} ({one_line(error)}); mend it") from error
    finally:
        sys.path.remove(folder)
    return module

"""What a user may name to be linted: a network, a run folder, a QONNX file, or a module of their own."""

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from qtrain.data import image_size
from qtrain.errors import UserError
from qtrain.experiments.run import load_run
from qtrain.export.foreign.boundary import one_line
from qtrain.export.foreign.graph_file import check_file
from qtrain.export.lint.check import Finding, lint_file, lint_module
from qtrain.models import FAMILIES, build_model, check_network
from qtrain.training.folder import RECIPE

Shape = tuple[int, int, int]
DEFAULT_SHAPE: Shape = (3, 32, 32)
FORMS = "a network's name (CNV_1W1A), a run folder, a QONNX file (model.onnx), or my_module:MyNet"


def parse_shape(text: str) -> Shape:
    """Read ``1,28,28``: channels, height and width of one image.

    Raises:
        UserError: not three whole numbers above 0.
    """
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"--input-shape must be channels,height,width, for instance 1,28,28, but got {text!r}")
    channels, height, width = map(int, parts)
    return channels, height, width


def lint_target(target: str, shape: Shape | None = None, **options: Any) -> tuple[Finding, ...]:
    """Lint what a user names.

    Args:
        target: one of ``FORMS``.
        shape: of one image, (C, H, W); by default the network's usual one, else 3x32x32.
        options: of ``build_model``, for a network's name.

    Raises:
        UserError: the target is none of these, or cannot be read, imported, built or run.
    """
    path = Path(target)
    if options and (path.exists() or path.suffix == ".onnx" or ":" in target):
        raise UserError(f"{target} is no network's name, so leave out --{', --'.join(options)}")
    if path.exists() or path.suffix == ".onnx":
        return _lint_path(path, shape)
    if ":" in target:
        return lint_module(own_module(target), shape or DEFAULT_SHAPE)
    try:
        family = FAMILIES.get(check_network(target).family)
    except UserError as error:
        raise UserError(f"{error}. What can be linted: {FORMS}") from None
    channels, height, width = shape or family.shape
    model = build_model(target, in_channels=channels, image_size=(height, width), **options)
    return lint_module(model, (channels, height, width))


def _lint_path(path: Path, shape: Shape | None) -> tuple[Finding, ...]:
    """Lint a run folder, a FINN folder or a file."""
    if shape is not None:
        raise UserError(f"{path} has its own image size; leave out --input-shape")
    if not path.is_dir():
        if path.suffix != ".onnx":
            raise UserError(f"{path} is a file but no .onnx file; name {FORMS}")
        return _lint_file(path)
    if (path / RECIPE).exists():
        recipe, model = load_run(path)
        size = image_size(recipe.data)
        return lint_module(model, (3, size, size))
    if (path / "model.onnx").exists():
        return _lint_file(path / "model.onnx")
    raise UserError(f"{path} is neither a run folder (no {RECIPE}) nor a FINN folder (no model.onnx); name {FORMS}")


def _lint_file(path: Path) -> tuple[Finding, ...]:
    """Lint an ONNX file of any origin."""
    check_file(path)
    with one_line(path, "linted"):
        return lint_file(path)


def own_module(target: str) -> nn.Module:
    """Import ``my_module:MyNet`` from the current folder and build it.

    Args:
        target: module and a class or function that needs no arguments, or a finished nn.Module.

    Raises:
        UserError: says what could not be imported, found or built.
    """
    place, _, name = target.partition(":")
    if not place or not name or place.endswith(".py") or "/" in place:
        raise UserError(f"{target!r} does not name a module; write my_module:MyNet for MyNet in my_module.py here")
    with _current_folder_first():
        try:
            found: Any = importlib.import_module(place)
        except (Exception, SystemExit) as error:
            raise UserError(f"cannot import {place} from {Path.cwd()} ({_line(error)}); mend it or go there") from None
        for part in name.split("."):
            if not hasattr(found, part):
                raise UserError(f"{place} has no {name}; networks in it: {_networks(found)}")
            found = getattr(found, part)
        return found if isinstance(found, nn.Module) else _built(target, found)


def _built(target: str, factory: Any) -> nn.Module:
    if not callable(factory):
        raise UserError(
            f"{target} is a {type(factory).__name__}; name an nn.Module, its class or a function making one"
        )
    needed = _required(factory)
    if needed:
        raise UserError(
            f"{target} needs arguments ({', '.join(needed)}); write a function without arguments that returns the "
            "network, and name that"
        )
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise UserError(f"{target}() fails ({_line(error)}); mend it, lint builds it without arguments") from None
    if not isinstance(made, nn.Module):
        raise UserError(f"{target}() makes a {type(made).__name__}, not an nn.Module; name a network's class")
    return made


def _required(factory: Any) -> list[str]:
    """Return the names of the arguments without a default."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # built-ins without a signature: calling them tells
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [given for given in parameters if given.default is given.empty and given.kind not in optional]
    return [given.name for given in needed]


def _networks(module: Any) -> str:
    """Return the names of a module's networks and of the classes that it defines."""
    names = []
    for name, value in vars(module).items():
        if isinstance(value, nn.Module) or _is_own_class(value, module):
            names.append(name)
    return ", ".join(names) or "none"


def _is_own_class(value: Any, module: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__


@contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _line(error: BaseException) -> str:
    """Return an error's first line with its kind."""
    kind = type(error).__name__
    for line in str(error).splitlines():
        if line.strip():
            return f"{kind}: {line.strip()[:160]}"
    return kind

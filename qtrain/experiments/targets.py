"""What a user may name to be looked at: a network, a run folder, a QONNX file, or a module of their own."""

from pathlib import Path
from typing import Any

from torch import nn

from qtrain.data import PLAIN, DataOptions, class_names, image_shape
from qtrain.errors import UserError
from qtrain.experiments.networks import activation_bits, describe
from qtrain.experiments.run import load_run
from qtrain.export.foreign.boundary import one_line
from qtrain.export.foreign.graph_file import check_file
from qtrain.export.lint.check import Finding, lint_file, lint_module
from qtrain.models import FAMILIES, build_model, check_network, parse_name
from qtrain.models.asked import one_network
from qtrain.models.count import NetworkCount, count
from qtrain.models.own import OPTIONS, build_own, find_own
from qtrain.recipe import Recipe
from qtrain.training.folder import RECIPE

Shape = tuple[int, int, int]
DEFAULT_SHAPE: Shape = (3, 32, 32)
DEFAULT_CLASSES = 10
FORMS = "a network's name (CNV_1W1A), a run folder, a QONNX file (model.onnx), or my_module:MyNet"


def parse_shape(text: str) -> Shape:
    """Read ``1,28,28``, channels, height and width; ``2,1024`` is a signal's, ``600`` a row's.

    Raises:
        UserError: not one to three whole numbers above 0.
    """
    parts = text.split(",")
    if not 1 <= len(parts) <= 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UserError(
            f"--input-shape must be channels,height,width, for instance 1,28,28 (a signal: channels,length; a row: "
            f"features), but got {text!r}"
        )
    channels, height, width = (*map(int, parts), 1, 1)[:3]
    return channels, height, width


def lint_target(
    target: str,
    shape: Shape | None = None,
    *,
    data: str | None = None,
    data_root: str | Path | None = None,
    data_options: DataOptions = PLAIN,
    net_args: dict[str, object] | None = None,
    **options: object,
) -> tuple[Finding, ...]:
    """Lint what a user names.

    Args:
        target: one of ``FORMS``.
        shape: of one input, (C, H, W); by default the data's, the network's usual one, or 3x32x32.
        data: a data set, or data of one's own, whose classes and shape the network is to have.
        data_root: where to look for them.
        data_options: how data of one's own are read.
        net_args: arguments of a network of one's own.
        options: of ``build_model``, for a network's name; those that a network of one's own has arguments for.

    Raises:
        UserError: the target is none of these, or cannot be read, imported, built or run.
    """
    path = Path(target)
    is_own = ":" in target and not path.exists()
    if (options or net_args or data) and not is_own and (path.exists() or path.suffix == ".onnx"):
        given = [*options, *(["net-args"] if net_args else []), *(["data"] if data else [])]
        raise UserError(f"{target} is no network's name, so leave out --{', --'.join(given)}")
    if not is_own and (path.exists() or path.suffix == ".onnx"):
        return _lint_path(path, shape, data_root)
    if is_own:
        model, size = own_network(
            target, shape, data=data, data_root=data_root, data_options=data_options, net_args=net_args, **options
        )
        return lint_module(model, size)
    classes, shape = _classes_and_shape(data, shape, data_root, data_options)
    if net_args:
        raise UserError(f"net_args are for a network of your own, and {target} is qtrain's; leave them out")
    try:
        family = FAMILIES.get(check_network(target).family)
    except UserError as error:
        raise UserError(f"{error}. What can be linted: {FORMS}") from None
    channels, height, width = shape or family.shape
    model = build_model(target, num_classes=classes, in_channels=channels, image_size=(height, width), **options)  # type: ignore[arg-type]
    return lint_module(model, (channels, height, width))


def describe_target(
    target: str,
    shape: Shape | None = None,
    *,
    data: str | None = None,
    data_root: str | Path | None = None,
    data_options: DataOptions = PLAIN,
    net_args: dict[str, object] | None = None,
    **options: Any,
) -> tuple[str, NetworkCount, dict[str, int]]:
    """Return a network's full name, its layers, and the bits of its activation quantizers by path.

    Args:
        target: a network's name with bit widths, or code of one's own.
        shape: of one input, (C, H, W); by default the data's, the network's usual one, or 3x32x32.
        data: a data set, or data of one's own, whose classes and shape the network is to have.
        data_root: where to look for them.
        data_options: how data of one's own are read.
        net_args: arguments of a network of one's own.
        options: of ``build_model``; those that a network of one's own has arguments for.

    Raises:
        UserError: it cannot be imported, built or run.
    """
    where: dict[str, Any] = {"data": data, "data_root": data_root, "data_options": data_options}
    if ":" in target:
        model, size = own_network(target, shape, **where, net_args=net_args, **options)
        with one_line(Path(target), "run"):
            sizes = count(model, size)
        return one_network(target, str(options.get("bits", "")))[0], sizes, activation_bits(model)
    if net_args:
        raise UserError(f"net_args are for a network of your own, and {target} is qtrain's; leave them out")
    classes, shape = _classes_and_shape(shape=shape, **where)
    if shape is not None:
        options |= {"in_channels": shape[0], "image_size": shape[1:]}
    if classes is not None:
        options["num_classes"] = classes
    return describe(target, **options)


def own_network(
    target: str,
    shape: Shape | None = None,
    *,
    data: str | None = None,
    data_root: str | Path | None = None,
    data_options: DataOptions = PLAIN,
    net_args: dict[str, object] | None = None,
    **options: object,
) -> tuple[nn.Module, Shape]:
    """Build a network of one's own, as training would, with the shape of its inputs; arguments as of ``lint_target``.

    Raises:
        UserError: it cannot be imported or built.
    """
    classes, shape = _classes_and_shape(data, shape, data_root, data_options)
    shape = shape or DEFAULT_SHAPE
    network, expression = one_network(target, str(options.pop("bits", "")))
    recipe = Recipe(network, bits=expression, **options)  # type: ignore[arg-type]
    asked = {option: getattr(recipe, option) for option in OPTIONS}
    name = parse_name(network)
    classes = classes or DEFAULT_CLASSES
    own = build_own(find_own(name), name, classes=classes, shape=shape, options=asked, arguments=net_args or {})
    return own, shape


def _classes_and_shape(
    data: str | None, shape: Shape | None, data_root: str | Path | None, data_options: DataOptions
) -> tuple[int | None, Shape | None]:
    if data is None:
        return None, shape
    if shape is not None:
        raise UserError("the data say the shape of an input; leave out --input-shape, or --data")
    return len(class_names(data, data_root, data_options)), image_shape(data, data_root, data_options)


def _lint_path(path: Path, shape: Shape | None, data_root: str | Path | None) -> tuple[Finding, ...]:
    """Lint a run folder, a FINN folder or a file."""
    if shape is not None:
        raise UserError(f"{path} has its own image size; leave out --input-shape")
    if not path.is_dir():
        if path.suffix != ".onnx":
            raise UserError(f"{path} is a file but no .onnx file; name {FORMS}")
        return _lint_file(path)
    if (path / RECIPE).exists():
        recipe, model = load_run(path, data_root)
        return lint_module(model, image_shape(recipe.data, data_root, recipe.data_options))
    if (path / "model.onnx").exists():
        return _lint_file(path / "model.onnx")
    raise UserError(f"{path} is neither a run folder (no {RECIPE}) nor a FINN folder (no model.onnx); name {FORMS}")


def _lint_file(path: Path) -> tuple[Finding, ...]:
    """Lint an ONNX file of any origin."""
    check_file(path)
    with one_line(path, "linted"):
        return lint_file(path)

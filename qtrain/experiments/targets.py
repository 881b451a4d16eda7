"""What a user may name to be looked at: a network, a run folder, a QONNX file, or a module of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class BuiltFor:
    """What a network that a user names is built for, where its name leaves that open.

    Attributes:
        shape: of one input, (C, H, W); by default the data's, the network's usual one, or 3x32x32.
        data: a data set, or data of one's own, whose classes and shape the network is to have.
        data_root: where to look for them.
        data_options: how data of one's own are read.
        net_args: arguments of a network of one's own.
    """

    shape: Shape | None = None
    data: str | None = None
    data_root: str | Path | None = None
    data_options: DataOptions = PLAIN
    net_args: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def classes_and_shape(self) -> tuple[int | None, Shape | None]:
        """Return the classes and the shape of the inputs; None where nothing says them.

        Raises:
            UserError: data and shape are both given, or the data cannot be read.
        """
        if self.data is None:
            return None, self.shape
        if self.shape is not None:
            raise UserError("the data say the shape of an input; leave out --input-shape, or --data")
        classes = len(class_names(self.data, self.data_root, self.data_options))
        return classes, image_shape(self.data, self.data_root, self.data_options)

    def check_qtrains(self, target: str) -> None:
        """See that nothing is asked of a network of qtrain's that only one of one's own can have.

        Raises:
            UserError: arguments.
        """
        if self.net_args:
            raise UserError(f"net_args are for a network of your own, and {target} is qtrain's; leave them out")


AS_USUAL = BuiltFor()


def lint_target(target: str, built_for: BuiltFor = AS_USUAL, **options: Any) -> tuple[Finding, ...]:
    """Lint what a user names.

    Args:
        target: one of ``FORMS``.
        built_for: of a network.
        options: of ``build_model``, for a network's name; those that a network of one's own has arguments for.

    Raises:
        UserError: the target is none of these, or cannot be read, imported, built or run.
    """
    path = Path(target)
    is_own = ":" in target and not path.exists()
    if not is_own and (path.exists() or path.suffix == ".onnx"):
        if given := [*options, *(name for name in ("net_args", "data") if getattr(built_for, name))]:
            flags = ", --".join(name.replace("_", "-") for name in given)
            raise UserError(f"{target} is no network's name, so leave out --{flags}")
        return _lint_path(path, built_for.shape, built_for.data_root)
    if is_own:
        return lint_module(*own_network(target, built_for, **options))
    classes, shape = built_for.classes_and_shape()
    built_for.check_qtrains(target)
    try:
        family = FAMILIES.get(check_network(target).family)
    except UserError as error:
        raise UserError(f"{error}. What can be linted: {FORMS}") from None
    channels, height, width = shape or family.shape
    model = build_model(target, num_classes=classes, in_channels=channels, image_size=(height, width), **options)
    return lint_module(model, (channels, height, width))


def describe_target(
    target: str, built_for: BuiltFor = AS_USUAL, **options: Any
) -> tuple[str, NetworkCount, dict[str, int]]:
    """Return a network's full name, its layers, and the bits of its activation quantizers by path.

    Args:
        target: a network's name with bit widths, or code of one's own.
        built_for: of the network.
        options: of ``build_model``; those that a network of one's own has arguments for.

    Raises:
        UserError: it cannot be imported, built or run.
    """
    if ":" in target:
        model, size = own_network(target, built_for, **options)
        with one_line(Path(target), "run"):
            sizes = count(model, size)
        return one_network(target, options.get("bits", ""))[0], sizes, activation_bits(model)
    built_for.check_qtrains(target)
    classes, shape = built_for.classes_and_shape()
    if shape is not None:
        options |= {"in_channels": shape[0], "image_size": shape[1:]}
    if classes is not None:
        options["num_classes"] = classes
    return describe(target, **options)


def own_network(target: str, built_for: BuiltFor = AS_USUAL, **options: Any) -> tuple[nn.Module, Shape]:
    """Build a network of one's own, as training would; return it with the shape of its inputs.

    Args:
        target: code of one's own.
        built_for: of the network.
        options: that it has arguments for.

    Raises:
        UserError: it cannot be imported or built.
    """
    classes, shape = built_for.classes_and_shape()
    shape = shape or DEFAULT_SHAPE
    network, expression = one_network(target, options.pop("bits", ""))
    recipe = Recipe(network, bits=expression, **options)
    asked = {option: getattr(recipe, option) for option in OPTIONS}
    name = parse_name(network)
    classes = classes or DEFAULT_CLASSES
    arguments = built_for.net_args
    return build_own(find_own(name), name, classes=classes, shape=shape, options=asked, arguments=arguments), shape


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

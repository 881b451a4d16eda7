"""From the traced graph to operations: layers and functions of torch by name, all others are refused with a mend."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from qtrain.models.own_layers import Group, OwnNetwork
from qtrain.models.quantize import functions, layers
from qtrain.models.quantize.ops import Op, Plan, Refusal
from qtrain.models.quantize.refusals import gate, refusal
from qtrain.models.quantize.trace import Traced, holder, size, tensors

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("add", "iadd", "add_"), operator.add),
    **dict.fromkeys(("sub", "isub", "sub_", "subtract"), operator.sub),
    **dict.fromkeys(("mul", "imul", "mul_", "multiply"), operator.mul),
    **dict.fromkeys(("truediv", "itruediv", "div", "div_", "divide"), operator.truediv),
}
_IN_PLACE = {"iadd", "isub", "imul", "itruediv"}
_NETWORK = set(dir(OwnNetwork()))
_GROUP = set(dir(Group()))
_PARTS = {"chunk", "split", "tensor_split", "unbind", "topk", "max", "min", "lstm"}
_NOTHING = {"contiguous", "dropout", "dropout2d", "feature_dropout", "alpha_dropout", "clone", "to", "float", "detach"}


class Translator:
    """Builds the plan of a traced module, node by node."""

    def __init__(self, traced: Traced, name: str):
        self.traced = traced
        self.plan = Plan(name, traced.shape)
        self.plan.taken = {own_path(path) for path, _ in traced.module.named_modules() if path}
        self._found: dict[fx.Node, Op] = {}
        self._called: set[str] = set()

    def run(self) -> Plan:
        """Translate every node that gives a tensor."""
        for node in self.traced.nodes:
            if node.op == "output":
                self.plan.add(Op("output", [self._found[node.all_input_nodes[0]]], "", (self.traced.classes,)))
            elif node.op != "get_attr" and size(node) is not None:
                self._found[node] = self._translate(node)
            elif node.op == "call_module" or _name(node) in _PARTS:
                self._refuse_parts(node)
        return self.plan

    def _refuse_parts(self, node: fx.Node) -> None:
        """Refuse what gives several tensors."""
        is_layer = node.op == "call_module"
        name = type(self.traced.layer(node)).__name__ if is_layer else _name(node)
        place = str(node.target) if is_layer else _place(node)
        self.plan.refusals.append(refusal(place, name))

    def _translate(self, node: fx.Node) -> Op:
        shape = size(node)
        assert shape is not None
        if node.op == "placeholder":
            return self.plan.add(Op("image", [], "", shape))
        sources = [self._found[source] for source in tensors(node) if source in self._found]
        if node.op == "call_module":
            return self._layer(node, sources, shape)
        return self._function(node, sources, shape)

    def _layer(self, node: fx.Node, sources: list[Op], shape: tuple[int, ...]) -> Op:
        path = own_path(str(node.target))
        layer = self.traced.layer(node)
        if path != str(node.target):
            self.plan.notes.append(f"{path}: was called {node.target}, which every network has already")
        made = layers.translate(self.plan, path, layer, sources, shape)
        if getattr(layer, "inplace", False):
            self._overwrite(node, made)
        if made.kind in ("conv", "linear", "norm", "row_norm") and path in self._called:
            again = "is called twice, and FINN shares no weights between layers"
            self.plan.refusals.append(refusal(path, "", again, "make two layers in __init__ and train again"))
        elif path in self._called and made.path == path:
            made.path = self.plan.new_path(*_split(path))
        self._called.add(path)
        return made

    def _function(self, node: fx.Node, sources: list[Op], shape: tuple[int, ...]) -> Op:
        name = _name(node)
        group = own_path(holder(node))
        if name in _ARITHMETIC:
            made = self._arithmetic(node, name, sources, shape)
        elif name in _NOTHING and sources:
            made = sources[0]
        else:
            made = functions.translate(self.plan, node, name, group, sources, shape)
        in_place = name in _IN_PLACE or name.endswith("_") or bool(node.kwargs.get("inplace"))
        if in_place:
            self._overwrite(node, made)
        return made

    def _overwrite(self, node: fx.Node, made: Op) -> None:
        """Let whoever reads the input of an in-place operation later read its output, as torch does."""
        self._found[node.all_input_nodes[0]] = made

    def _arithmetic(self, node: fx.Node, name: str, sources: list[Op], shape: tuple[int, ...]) -> Op:
        """Return an addition of streams, or an operation with a constant, which the image alone may have."""
        compute = _ARITHMETIC[name]
        computed = [arg for arg in node.args if isinstance(arg, fx.Node) and arg.op != "get_attr"]
        plain = len(node.args) == 2 and not node.kwargs.keys() - {"inplace"}
        if plain and len(computed) == 1:
            options = {"compute": self._with_constant(node, compute), "name": name}
            return self.plan.add(Op("affine", sources, _place(node), shape, options=options))
        streams = sources * 2 if len(sources) == 1 and node.args[0] is node.args[1] else sources
        alike = len(streams) == 2 and all(stream.shape == shape for stream in streams)
        if plain and alike and compute is operator.add:
            return self.plan.add(Op("add", streams, own_path(holder(node)), shape))
        self.plan.refusals.append(_refused(node, name, streams, plain))
        return self.plan.add(Op("unknown", sources, _place(node), shape))

    def _with_constant(self, node: fx.Node, compute: Callable[[Any, Any], Any]) -> Callable[[Tensor], Tensor]:
        """Return an arithmetic operation as a function of its one tensor."""
        left, right = (self._value(arg) for arg in node.args)
        if left is None:
            return lambda x: compute(x, right)
        return lambda x: compute(left, x)

    def _value(self, arg: object) -> Any:
        """Return a number or a tensor of the module; None for what is computed."""
        if not isinstance(arg, fx.Node):
            return arg
        return self.traced.constant(arg) if arg.op == "get_attr" else None


def _refused(node: fx.Node, name: str, streams: list[Op], plain: bool) -> Refusal:
    """Return the refusal of arithmetic that is neither an addition of two streams nor with a constant."""
    place = _place(node)
    if not plain or len(streams) < 2:
        said = f"{name} with a number computed in forward, or with further arguments"
        return refusal(place, name, said, "write it with two plain operands")
    if _ARITHMETIC[name] is operator.mul:
        return gate(place)
    if _ARITHMETIC[name] is operator.add:
        shapes = " and ".join(str(list(stream.shape)) for stream in streams)
        return refusal(place, name, f"an addition of different shapes {shapes}", "give both branches one shape")
    return refusal(place, name, f"{name} of two streams", "add the branches; the layer before learns the sign")


def translate(traced: Traced, name: str) -> Plan:
    """Turn a traced module into operations; what has no FINN-safe form is listed in the plan's refusals."""
    with torch.no_grad():
        return Translator(traced, name).run()


def own_path(path: str) -> str:
    """Return the path of a layer in the new network; a name that every network has already ends in ``_``."""
    if not path:
        return path
    first, *others = path.split(".")
    parts = [f"{first}_" if first in _NETWORK else first]
    parts += [f"{part}_" if part in _GROUP else part for part in others]
    return ".".join(parts)


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _place(node: fx.Node) -> str:
    return f"{holder(node) or 'forward'} ({node.name})"


def _split(path: str) -> tuple[str, str]:
    group, _, name = path.rpartition(".")
    return group, name

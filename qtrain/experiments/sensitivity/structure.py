"""Which quantizers of a network may have other bits, and which of them a layer's hardware depends on."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.data import image_shape
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.experiments.networks import activation_bits
from qtrain.export import lint_network
from qtrain.export.compiler.layer_names import WEIGHTED
from qtrain.models.bits import FLOAT
from qtrain.models.count import weight_bits
from qtrain.models.names import parse_name
from qtrain.recipe import Recipe

Widths = dict[str, int]  # bits of quantizers, by the path that --bits names them by
WIDEST = 8
_LEVELS = 2  # a sum is quantized, then what comes of it, and that again for the next sum
_OTHER = 2  # bits of the network that tells which quantizers follow its name


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        node: its name in graphs.
        source: path of the quantizer of what it multiplies; empty where there is none.
        sinks: paths of the quantizers that its results go to.
        beyond: paths of quantizers behind those, without a layer with weights between.
    """

    node: str
    source: str
    sinks: tuple[str, ...]
    beyond: tuple[str, ...]


@dataclass(frozen=True)
class Structure:
    """A network at its widest bits.

    Attributes:
        weights: paths of layers whose weights may have other bits, in the network's order.
        activations: paths of activation quantizers that may have other bits.
        fixed: bits of the other activation quantizers, as that of the images.
        layers: with weights, by path.
        refused: bits that FINN would not take of a quantizer, by path.
    """

    weights: tuple[str, ...]
    activations: tuple[str, ...]
    fixed: Widths
    layers: Mapping[str, Layer]
    refused: Mapping[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the paths of all quantizers that may have other bits."""
        return self.weights + self.activations

    def widest(self) -> Widths:
        """Return the bits of the network as it is trained first."""
        return dict.fromkeys(self.variables, WIDEST)

    def widths_of(self, path: str, widths: Sequence[int]) -> list[int]:
        """Return those of some widths that a quantizer may have."""
        return [bits for bits in widths if bits not in self.refused.get(path, ())]

    def expression(self, bits: Mapping[str, int]) -> str:
        """Return what ``--bits`` says of a choice."""
        return ",".join(f"{path}={bits[path]}" for path in self.variables if bits[path] != WIDEST)


def widest_name(family: str) -> str:
    """Return the name of a family's network at the widest bits."""
    return f"{family}_{WIDEST}W{WIDEST}A"


def structure_of(recipe: Recipe, family: str, data_root: str | Path | None) -> Structure:
    """Find out how a recipe's network is made.

    Args:
        recipe: of the network at the widest bits.
        family: of the network.
        data_root: where to look for the data, whose classes the network has.

    Raises:
        UserError: no quantizer follows the bits in the network's name, or FINN would not take the network.
    """
    wide = model_of(recipe, data_root)
    narrow = model_of(recipe.replace(network=f"{family}_{_OTHER}W{_OTHER}A"), data_root)
    weights = _changed(_weight_bits(wide), _weight_bits(narrow))
    found = activation_bits(wide)
    activations = _changed(found, activation_bits(narrow))
    if not weights and not activations:
        raise UserError(f"{recipe.network} has no layer whose bits can be chosen; take a quantized network")
    linted = lint_network(wide.eval(), image_shape(recipe.data, data_root, recipe.data_options))
    if linted.errors:
        first = linted.errors[0]
        raise UserError(f"FINN would refuse {recipe.network} at {first.layer} [{first.rule}]: {first.says}")
    fixed = {path: bits for path, bits in found.items() if path not in activations}
    layers = layers_of(linted.graph(), [*_weight_bits(wide)], [*found])
    return Structure(weights, activations, fixed, layers)


def without_refused(
    structure: Structure,
    recipe: Recipe,
    widths: Sequence[int],
    data_root: str | Path | None,
    say: Callable[[str], None],
) -> Structure:
    """Leave out widths that FINN would not take: quantizers of a network of one's own may not be meant for all.

    Args:
        structure: of the network.
        recipe: of the network at the widest bits.
        widths: that are asked for.
        data_root: where to look for the data.
        say: told what is left out and why.

    Raises:
        UserError: nothing is left to choose.
    """
    name = parse_name(recipe.network)
    refused: dict[str, frozenset[int]] = {}
    for bits in sorted(set(widths) - {WIDEST}):
        for kind, paths in (("weights", structure.weights), ("activations", structure.activations)):
            pair = (bits, WIDEST) if kind == "weights" else (WIDEST, bits)
            asked = replace(name, weight_bits=pair[0], act_bits=pair[1])
            model = model_of(recipe.replace(network=str(asked)), data_root).eval()
            errors = lint_network(model, image_shape(recipe.data, data_root, recipe.data_options)).errors
            if not errors:
                continue
            named = {error.layer for error in errors} & {*paths}
            for path in named or paths:
                refused[path] = refused.get(path, frozenset()) | {bits}
            where = ", ".join(sorted(named)) or "any layer"
            say(f"no {bits}-bit {kind} of {where} [{errors[0].rule}]: {errors[0].says}")
    found = replace(structure, refused=refused)
    if all(found.widths_of(path, widths) == [WIDEST] for path in structure.variables):
        raise UserError(f"FINN would take no layer of {recipe.network} at fewer bits; `qtrain lint` says why")
    return found


def _changed(wide: Widths, narrow: Widths) -> tuple[str, ...]:
    return tuple(path for path, bits in wide.items() if narrow.get(path, bits) != bits)


def _weight_bits(model: nn.Module) -> Widths:
    found = {path: weight_bits(module) for path, module in model.named_modules() if hasattr(module, "weight_quant")}
    return {path: bits for path, bits in found.items() if bits != FLOAT}


def layers_of(graph: ModelWrapper, weights: Sequence[str], activations: Sequence[str]) -> dict[str, Layer]:
    """Follow a network's graph from each layer back to the quantizer before it and on to those behind it.

    Args:
        graph: of the network, as lint makes it.
        weights: paths of layers with weights.
        activations: paths of activation quantizers.
    """
    nodes = graph.model.graph.node
    makers = {name: node for node in nodes for name in node.output}
    takers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    quantizers = {_in_graphs(path): path for path in activations}
    by_name = {node.name: node for node in nodes}
    found = {}
    for path in weights:
        node = by_name.get(_in_graphs(path))
        if node is None or node.op_type not in WEIGHTED:
            continue
        near, ends = _behind(node, takers, quantizers)
        beyond: dict[str, None] = {}
        for _ in range(_LEVELS):
            further = [_behind(end, takers, quantizers) for end in ends]
            beyond |= dict.fromkeys(name for names, _ in further for name in names if name not in near)
            ends = [end for _, ends_there in further for end in ends_there]
        found[path] = Layer(node.name, _before(node, makers, quantizers), tuple(near), tuple(beyond))
    return found


def _in_graphs(path: str) -> str:
    """Return how a graph names what a network has at a path."""
    return path.replace(".", "_")


def _quantizer(node: onnx.NodeProto, quantizers: Mapping[str, str]) -> str:
    """Return the path of the quantizer that a node is; empty where it is none. Later uses of one have a number."""
    name = re.sub(r"_\d+$", "", node.name) if node.name not in quantizers else node.name
    return quantizers.get(name, "")


def _before(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], quantizers: Mapping[str, str]) -> str:
    """Return the path of the quantizer whose values a layer gets."""
    at: onnx.NodeProto | None = makers.get(node.input[0])
    while at is not None and not (path := _quantizer(at, quantizers)):
        if at.op_type in WEIGHTED:
            return ""
        at = makers.get(at.input[0]) if at.input else None
    return "" if at is None else path


def _behind(
    node: onnx.NodeProto, takers: Mapping[str, list[onnx.NodeProto]], quantizers: Mapping[str, str]
) -> tuple[list[str], list[onnx.NodeProto]]:
    """Return the quantizers that a node's values come to first: their paths and nodes."""
    paths: dict[str, None] = {}
    ends = []
    open_nodes = [taker for name in node.output for taker in takers.get(name, [])]
    seen = {taker.name for taker in open_nodes}
    while open_nodes:
        at = open_nodes.pop(0)
        if path := _quantizer(at, quantizers):
            paths[path] = None
            ends.append(at)
        elif at.op_type not in WEIGHTED:
            more = [taker for name in at.output for taker in takers.get(name, []) if taker.name not in seen]
            seen |= {taker.name for taker in more}
            open_nodes += more
    return list(paths), ends

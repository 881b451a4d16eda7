"""Which layers of a network follow each other so that they can be fused, found by torch.fx."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from qtrain.models.producers import trace

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
CARRIERS = (nn.MaxPool2d, nn.Flatten, nn.Identity)  # values stay integers of the same scale


@dataclass
class Fusion:
    """Paths of the modules that take part.

    Attributes:
        layers: convolutions and linear layers without bias whose norm and quantizer follow.
        norms: the norms between.
        givers: quantizers whose values none but layers on the integer grid see.
        carriers: what lies between givers and these layers.
    """

    layers: set[str]
    norms: set[str]
    givers: set[str]
    carriers: set[str]


def find(
    model: nn.Module,
    layers: Collection[nn.Module],
    quantizers: Collection[nn.Module],
    products: Collection[nn.Module],
) -> Fusion:
    """Find what can be fused.

    Args:
        model: traced with torch.fx; where it cannot be, nothing is found.
        layers: all with the fast forward pass, none of which is looked into.
        quantizers: activations with the fast forward pass.
        products: convolutions and linear layers whose input comes from one quantizer, on the integer grid.
    """
    found = Fusion(set(), set(), set(), set())
    graph = trace(model, layers)
    if graph is None:
        return found
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[node.target]) for node in graph.nodes if node.op == "call_module")

    def module(node: Any) -> nn.Module | None:
        """What a node calls, where it is called once, with one argument, and nobody who expects values looks on."""
        if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            return None
        called = modules[str(node.target)]
        watched = called._forward_hooks or called._forward_pre_hooks
        return called if calls[id(called)] == 1 and not watched else None

    for node in graph.nodes:
        if module(node) not in quantizers:
            continue
        between: set[str] = set()
        if _reaches_products(node, module, products, between):
            found.givers.add(node.target)
            found.carriers |= between
        norm_node = node.args[0]
        norm = module(norm_node)
        if type(norm) not in NORMS or len(norm_node.users) != 1 or not _is_plain(norm):
            continue
        layer_node = norm_node.args[0]
        layer: Any = module(layer_node)
        if layer not in products or len(layer_node.users) != 1 or layer.bias is not None:
            continue
        found.layers.add(layer_node.target)
        found.norms.add(norm_node.target)
    return found


def _is_plain(norm: Any) -> bool:
    return bool(norm.affine and norm.track_running_stats)


def _reaches_products(node: fx.Node, module: Any, products: Collection[nn.Module], between: set[str]) -> bool:
    """Whether all that see the values of ``node`` are products, behind carriers, which are added to ``between``."""
    for user in node.users:
        called = module(user)
        if called in products:
            continue
        if type(called) not in CARRIERS or not _reaches_products(user, module, products, between):
            return False
        between.add(str(user.target))
    return bool(node.users)

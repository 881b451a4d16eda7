"""Which quantizer each layer's input comes from, read from the network's own forward pass."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import fx, nn

_KEEPS_GRID = (nn.MaxPool2d, nn.Flatten, nn.Identity)  # values stay multiples of the same scale
_CONSUMERS = (nn.Conv2d, nn.Linear)


def producers(model: nn.Module, layers: Sequence[nn.Module]) -> dict[str, str]:
    """Return each layer's quantizer of the input, by paths; layers whose input has no one quantizer are absent.

    Args:
        model: traced with torch.fx in training mode; where it cannot be, nothing is found.
        layers: quantizers and consumers, none of which is looked into.
    """
    graph = _trace(model, layers)
    return {} if graph is None else _producers(model, graph, _names(model, layers))


def handed_on(model: nn.Module, layers: Sequence[nn.Module]) -> dict[str, list[str]]:
    """Return the layers behind each quantizer, by paths, of quantizers whose values go to such layers and nowhere else.

    Args:
        model: as `producers` takes it.
        layers: as `producers` takes them.
    """
    graph = _trace(model, layers)
    if graph is None:
        return {}
    sources = _producers(model, graph, _names(model, layers))
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    found = {}
    for node in graph.nodes:
        if node.op == "call_module" and node.target in sources.values() and calls[node.target] == 1:
            readers = list(_readers(model, node))
            paths = [str(reader.target) for reader in readers]
            if all(reader.op == "call_module" for reader in readers) and {sources.get(p) for p in paths} == {
                node.target
            }:
                found[str(node.target)] = paths
    return found


def _names(model: nn.Module, layers: Sequence[nn.Module]) -> dict[nn.Module, str]:
    wanted = set(layers)
    return {layer: path for path, layer in model.named_modules() if layer in wanted}


def _trace(model: nn.Module, layers: Sequence[nn.Module]) -> fx.Graph | None:
    leaves = set(layers)

    class Tracer(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, path: str) -> bool:
            return module in leaves or super().is_leaf_module(module, path)

    try:
        with _training(model):
            return Tracer().trace(model)
    except Exception:  # control flow that depends on values, or whatever else a network does
        return None


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Inside, every module is in training mode, in which some networks have more heads."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = True
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _producers(model: nn.Module, graph: fx.Graph, names: dict[nn.Module, str]) -> dict[str, str]:
    paths = set(names.values())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    found = {}
    for node in graph.nodes:
        if node.op != "call_module" or node.target not in paths or calls[node.target] > 1:
            continue
        if not isinstance(model.get_submodule(node.target), _CONSUMERS):
            continue
        origin = node.args[0]
        while _keeps_grid(model, origin):
            origin = origin.args[0]
        known = origin.op == "call_module" and origin.target in paths
        if known and not isinstance(model.get_submodule(origin.target), _CONSUMERS):
            found[node.target] = origin.target
    return found


def _readers(model: nn.Module, node: fx.Node) -> Iterator[fx.Node]:
    """Who reads a node's values, through layers that leave them as they are."""
    for reader in node.users:
        if _keeps_grid(model, reader):
            yield from _readers(model, reader)
        else:
            yield reader


def _keeps_grid(model: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), _KEEPS_GRID)

"""A name for each use of a module in the exporter's trace: the second use of ``relu`` is ``relu_1``, at any depth.

torch's exporter tells the uses of a module apart by a counter at the innermost scope that holds an operator, where it
cannot be told from a name, and operators of one scope that vanish shift it. So the uses are counted as they happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import torch
from torch import nn

from qtrain.export.proof.reference import layers


def use_name(path: str, use: int, taken: Collection[str] = ()) -> str:
    """Name a use of a layer in the graph; one that is another layer's name is ``path_use1`` in place of ``path_1``.

    Args:
        path: of the layer, in torch's words or with underscores.
        use: 0 for the first.
        taken: all names of layers, written as ``path`` is.
    """
    if not use:
        return path
    plain = f"{path}_{use}"
    return f"{path}_use{use}" if plain in taken else plain


def name_uses(network: nn.Module) -> None:
    """Let each use of each of the layers of ``network`` have a scope of its own while it is traced.

    A layer that is called past its parent, as ``self.block.conv(x)`` in the forward of the whole network, would have
    the scope ``conv``, as the layer ``conv`` of the network has: its scope then holds what was passed over.
    """
    own = dict(layers(network))
    taken = {path.replace(".", "_") for path in own}
    uses: Counter[str] = Counter()
    first: dict[str, str] = {}
    running: list[str] = []  # modules that hold others, the innermost last

    def forget(_module: nn.Module, _args: object) -> None:
        uses.clear()
        running.clear()

    def name(path: str, layer: nn.Module) -> None:
        scopes = torch.jit._trace._trace_module_map  # the exporter's, where there is one
        if scopes is not None and layer in scopes:
            scope = first.setdefault(path, _scope(path, running, scopes[layer]))
            named = use_name(path.replace(".", "_"), uses[path], taken)
            scopes[layer] = scope + named.removeprefix(path.replace(".", "_"))
        uses[path] += 1

    def enter(path: str, holder: nn.Module) -> None:
        scopes = torch.jit._trace._trace_module_map
        if scopes is not None and holder in scopes:
            scopes[holder] = _scope(path, running, scopes[holder])
        running.append(path)

    def leave(_module: nn.Module, _args: object, _out: object) -> None:
        running.pop()

    network.register_forward_pre_hook(forget)
    for path, layer in own.items():
        layer.register_forward_pre_hook(lambda layer, _args, path=path: name(path, layer))
    for path, holder in _holders(network, own):
        holder.register_forward_pre_hook(lambda holder, _args, path=path: enter(path, holder))
        holder.register_forward_hook(leave)


def _holders(network: nn.Module, own: dict[str, nn.Module]) -> list[tuple[str, nn.Module]]:
    """Return the modules that layers lie in, but the network itself, by path."""
    above = {path[:i] for path in own for i, letter in enumerate(path) if letter == "."}
    return [(path, module) for path, module in network.named_modules() if path in above]


def _scope(path: str, running: list[str], usual: str) -> str:
    """Return the scope of a module, which names what lies between it and the module that calls it.

    One that is called by its parent keeps its own, and so does one that is called from elsewhere, since it lies in
    several places.

    Args:
        path: of the module.
        running: paths of the modules that hold others and run at the moment, the innermost last.
        usual: the exporter's, ``class::name``.
    """
    parent = path.rpartition(".")[0]
    inner = running[-1] if running else ""
    if inner == parent or (inner and not path.startswith(f"{inner}.")):
        return usual
    passed = path[len(inner) + 1 :] if inner else path
    return f"{usual.rpartition('::')[0]}::{passed}"

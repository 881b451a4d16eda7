"""One parameter group a layer: what ASLR draws a learning rate for."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from qtrain.errors import UserError

_LAYERS = (
    nn.Linear,
    nn.Bilinear,
    nn.modules.conv._ConvNd,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def layer_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Make one parameter group a layer, for ASLR's draws "per layer".

    A layer's weight, its bias, the quantizers inside it and the norms and activation quantizers after it (in the order
    of registration, up to the next layer) are one group; what comes before the first layer joins that one. Each
    trainable parameter appears once, a shared one with its first owner.

    Args:
        module: The network.

    Returns:
        Groups for an optimizer: ``{"name": dotted path of the layer, "params": [...]}``, in order of registration.

    Raises:
        UserError: The module has no trainable parameter.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    early: list[nn.Parameter] = []
    seen: set[int] = set()
    for layer, parameters in _by_layer(module):
        fresh = [p for p in parameters if p.requires_grad and id(p) not in seen]
        seen.update(id(p) for p in fresh)
        if layer is None:
            early += fresh
        elif fresh:
            groups.setdefault(layer, []).extend(fresh)
    if early:
        first = next(iter(groups), type(module).__name__)
        groups[first] = early + groups.get(first, [])
    if not groups:
        raise UserError(f"{type(module).__name__} has no trainable parameter to make groups of")
    return [{"name": name, "params": parameters} for name, parameters in groups.items()]


def _by_layer(module: nn.Module) -> Iterator[tuple[str | None, list[nn.Parameter]]]:
    """Yield each submodule's own parameters with the name of the layer they belong to, None before the first."""
    layer = None
    whole = False
    for path, child in module.named_modules():
        parameters = list(child.parameters(recurse=False))
        inside = whole and layer is not None and path.startswith(f"{layer}.")
        if not inside and _starts_layer(child, parameters):
            layer = path or type(module).__name__
            whole = isinstance(child, _LAYERS)
        yield layer, parameters


def _starts_layer(module: nn.Module, parameters: list[nn.Parameter]) -> bool:
    if isinstance(module, _LAYERS):
        return True
    # A scale for each channel is (1, C, 1, 1): only what spans two dimensions is a weight.
    return not isinstance(module, _NORMS) and any(sum(n > 1 for n in p.shape) > 1 for p in parameters)

"""Other bits for single layers of a network of one's own, whose code has arguments for all weights and all activations.

The code is asked for networks at those bits too, all drawn from the same random numbers, and the layers that are to
have them are taken from there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.bits import FLOAT, BitWidths
from qtrain.models.count import weight_bits
from qtrain.models.names import NetworkName

Pair = tuple[int, int]  # bits of weights and of activations
Build = Callable[[int, int], nn.Module]


def with_bits(build: Build, name: NetworkName, expression: str, shape: tuple[int, int, int]) -> nn.Module:
    """Build a network some of whose layers have other bits than its name says.

    Roles count in the order of registration: the first layer with weights is ``first``, the last one ``last``, and what
    has the bits of the name between them is ``inner``. Other roles there are none: paths name sums.

    Args:
        build: makes the network at bits of all weights and all activations.
        name: of the network.
        expression: see ``parse_bits``.
        shape: of an image, (C, H, W).

    Raises:
        UserError: an entry matches nothing, asks for bits that the code does not give that layer, or for a layer that
            the code also keeps outside of its modules, where none can take its place.
    """
    drawn = torch.get_rng_state()

    def at(pair: Pair) -> nn.Module:
        torch.set_rng_state(drawn)
        return build(*pair)

    model = at((name.weight_bits, name.act_bits))
    other = (_other(name.weight_bits), _other(name.act_bits))
    sources = {other: at(other)}
    wanted = _wanted(model, sources[other], name, expression)
    replaced: dict[str, nn.Module] = {}
    for path, pair in wanted.items():
        if pair not in sources:
            sources[pair] = at(pair)
        old, new = model.get_submodule(path), sources[pair].get_submodule(path)
        if _bits(new) != _only(pair, new):
            raise UserError(
                f"bits: {path} has {_bits(new)} bits whatever {name.family} is asked for, so that it cannot have "
                f"{_only(pair, new)}; take them from its arguments in the code"
            )
        _replace(model, old, new)
        replaced[path] = old
    _check_unused(model, replaced, name, shape)
    return model


def _wanted(model: nn.Module, other: nn.Module, name: NetworkName, expression: str) -> Mapping[str, Pair]:
    """Return the quantizers that are to have other bits than they have, with the pair that gives them these.

    Args:
        model: at the name's bits.
        other: the same at others, which says what follows them.
        name: of the network.
        expression: that is asked for.
    """
    widths = BitWidths(name.weight_bits, name.act_bits, expression)
    quantizers = {path: module for path, module in model.named_modules() if _bits(module) is not None}
    layers = [path for path, module in quantizers.items() if hasattr(module, "weight")]
    found = {}
    for path, module in quantizers.items():
        bits = _bits(module)
        inner = "fixed" if _bits(other.get_submodule(path)) == bits else "inner"
        if path in layers:
            role = {layers[-1]: "last", layers[0]: "first"}.get(path, inner)
            pair = (widths.weights(path, role, bits), name.act_bits)
        else:
            pair = (name.weight_bits, widths.activations(path, inner, bits))
        if _only(pair, module) != bits:
            found[path] = pair
    widths.check_all_used(str(name))
    return found


def _other(bits: int) -> int:
    """Return bits that any quantizer can have, and these are not."""
    return 2 if bits == 4 else 4


def _bits(module: nn.Module) -> int | None:
    """Return the bits of a layer's weights or, without weights, of its activations; None of all else."""
    if hasattr(module, "weight"):
        bits = weight_bits(module)
        return None if bits == FLOAT else bits
    quantizer = getattr(module, "act_quant", None)
    return int(quantizer.bit_width().detach()) if quantizer is not None and quantizer.is_quant_enabled else None


def _only(pair: Pair, module: nn.Module) -> int:
    """Return which of a pair's bits a module has."""
    return pair[0] if hasattr(module, "weight") else pair[1]


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in another one's place, wherever that is registered: a quantizer may be shared by branches."""
    for path, module in [*model.named_modules(remove_duplicate=False)]:
        if module is old:
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, new)


@torch.no_grad()
def _check_unused(
    model: nn.Module, replaced: Mapping[str, nn.Module], name: NetworkName, shape: tuple[int, int, int]
) -> None:
    """See in a pass that no layer is still used that another one took the place of."""
    used: list[str] = []
    modes = [(module, module.training) for module in model.modules()]
    with _noting(replaced, used):
        model.eval()(torch.zeros(1, *shape))
    for module, training in modes:
        module.training = training
    if used:
        raise UserError(
            f"bits: {name.family} uses {used[0]} by another way than its modules, so that no other layer can take its "
            "place; keep it as an attribute or in an nn.ModuleList alone"
        )


@contextmanager
def _noting(modules: Mapping[str, nn.Module], used: list[str]) -> Iterator[None]:
    def noting(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda *_: used.append(path)

    hooks = [module.register_forward_hook(noting(path)) for path, module in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

"""A network without what is wrapped around it: a copy that lint, the reference and the exporter can work on.

Compiled and parallel wrappers, pruning masks, parametrizations and weight norms change no answer of a trained network
but its names, its copy or its graph. They are taken off a copy; the network itself stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from brevitas.nn.mixin.parameter import QuantWeightMixin
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_leaves

from qtrain.errors import UserError
from qtrain.export.module_copy import copy_module, holds_nothing

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the network inside ``torch.compile``, ``DataParallel`` and the like; the module itself where bare."""
    while True:
        if hasattr(module, "_orig_mod"):  # of torch.compile, whose class only a slow import brings
            module = module._orig_mod  # type: ignore[assignment]
        elif isinstance(module, _WRAPPERS):
            module = module.module
        else:
            return module


@torch.no_grad()
def bare_copy(module: nn.Module) -> nn.Module:
    """Copy a network to the CPU, in float32 and evaluation mode, without wrappers, masks and parametrizations.

    Raises:
        UserError: it is scripted, or cannot be copied, or one of its parametrizations cannot be taken off.
    """
    module = unwrapped(module)
    for path, child in module.named_modules():
        if isinstance(child, torch.jit.ScriptModule):
            where = f"its {path}" if path else "it"
            raise UserError(
                f"{called(module)} cannot be read: {where} is compiled by torch.jit; give the module that "
                "torch.jit.script or torch.jit.trace was given"
            )
    try:
        network = _copied(module).cpu().float().eval()
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")[:160]
        raise UserError(
            f"{called(module)} cannot be copied ({type(error).__name__}: {reason}); lint a freshly built one"
        ) from None
    for path, layer in network.named_modules():
        _take_off(layer, path or "the network")
    return network


def _copied(module: nn.Module) -> nn.Module:
    """A deep copy in which wrapped children are bare and computed tensors that a module keeps are plain values."""
    memo: dict[int, Any] = {}
    for child in module.modules():
        for leaf in tree_leaves([value for value in vars(child).values() if not holds_nothing(value)]):
            if isinstance(leaf, Tensor) and not leaf.is_leaf:
                memo[id(leaf)] = leaf.detach().clone()
    for child in reversed(list(module.modules())):
        inner = unwrapped(child)
        if inner is not child:
            memo[id(child)] = copy.deepcopy(inner, memo)
    return copy_module(module, memo)


def _take_off(layer: nn.Module, path: str) -> None:
    """Turn each computed parameter of a layer into a plain one of the same values, with the scales that it had."""
    for name, remove in list(_computed(layer)):
        if not (name == "weight" and isinstance(layer, QuantWeightMixin)):
            _removed(layer, name, remove, path)
            continue
        # Brevitas builds the quantizer anew for a new weight, and a learned scale would start again; a scale that is
        # computed from the weights is the one of those behind the mask.
        quantizer = copy.deepcopy(layer.weight_quant.tensor_quant)
        _removed(layer, name, remove, path)
        layer.weight_quant.tensor_quant = quantizer


def _computed(layer: nn.Module) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the name of each parameter that is computed before a forward, with what takes that off."""
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod):
            yield str(hook._tensor_name), partial(prune.remove, layer, str(hook._tensor_name))
        if isinstance(hook, WeightNorm):
            yield hook.name, partial(remove_weight_norm, layer, hook.name)
        if isinstance(hook, SpectralNorm):
            yield hook.name, partial(remove_spectral_norm, layer, hook.name)
    if parametrize.is_parametrized(layer):
        kind = type(layer)  # the copied layer shares it, and taking off changes it
        layer.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
        for name in layer.parametrizations:  # type: ignore[union-attr]
            yield name, partial(parametrize.remove_parametrizations, layer, name)


def _removed(layer: nn.Module, name: str, remove: Callable[[], Any], path: str) -> None:
    try:
        remove()
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")[:160]
        raise UserError(
            f"{name} of {path} is computed by a parametrization or mask that cannot be taken off ({reason}); take it "
            "off before: torch.nn.utils.parametrize.remove_parametrizations or torch.nn.utils.prune.remove"
        ) from None


def called(module: nn.Module) -> str:
    """Return what a network is called in an error: its name in the zoo, else its class."""
    name = getattr(module, "name", None)
    return name if isinstance(name, str) else type(module).__name__

"""Rules about what only the torch module shows: quantizers that change it, or whose values come with training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from brevitas.core.function_wrapper import InplaceTensorClampSte
from brevitas.core.function_wrapper.ops_ste import RoundSte
from brevitas.core.quant import BinaryQuant, ClampedBinaryQuant
from brevitas.core.scaling import ConstScaling, StatsFromParameterScaling
from brevitas.core.zero_point import ZeroZeroPoint
from brevitas.nn.mixin.parameter import QuantWeightMixin
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from qtrain.export.decoupled import is_decoupled
from qtrain.export.lint.ends import NOT_QUANTIZED
from qtrain.export.lint.finding import WHOLE, Spot
from qtrain.export.lint.pools import AVERAGE_POOL
from qtrain.export.lint.quantizers import SIGN_SCALE, ZERO_POINT, rounding_words
from qtrain.export.proof.reference import layers

# --- What other rules ask of a module --------------------------------------------------------------------------------


def module_paths(network: nn.Module) -> tuple[str, ...]:
    """Return the paths of all modules, but of none inside Brevitas' own."""
    own = [path for path, _ in layers(network)]
    parents = {path.rpartition(".")[0] for path in own}
    for path in list(parents):
        while path := path.rpartition(".")[0]:
            parents.add(path)
    return (*own, *sorted(parents - {""}))


def fixed_scales(network: nn.Module) -> frozenset[str]:
    """Return the paths of the layers all of whose quantizers have a constant scale."""
    scales: dict[str, bool] = {}
    for path, quantizer in _quantizers(network):
        constant = isinstance(getattr(quantizer, "scaling_impl", None), ConstScaling)
        scales[path] = scales.get(path, True) and constant
    return frozenset(path for path, constant in scales.items() if constant)


def _quantizers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each quantizer as Brevitas implements it, with the path of its layer."""
    for path, layer in layers(network):
        for module in layer.modules():
            implementation = getattr(module, "tensor_quant", None)
            if isinstance(implementation, nn.Module):
                yield path, implementation


def _weighted(network: nn.Module) -> Iterator[tuple[str, QuantWeightMixin]]:
    """Yield the layers whose weights Brevitas quantizes by the usual way, with their paths."""
    for path, layer in layers(network):
        if isinstance(layer, QuantWeightMixin) and layer.weight is not None and not is_decoupled(layer):
            yield path, layer


# --- Rules -----------------------------------------------------------------------------------------------------------


def not_finite(network: nn.Module) -> Iterator[Spot]:
    """Find weights and statistics that are NaN or infinite, and variances below zero, whose root is NaN."""
    for name, tensor in chain(network.named_parameters(), network.named_buffers()):
        wrong = int((~tensor.isfinite()).sum()) if tensor.is_floating_point() else 0
        if wrong:
            layer, _, own = name.rpartition(".")
            says = f"nothing of use: {own} holds {wrong} of {tensor.numel()} values that are NaN or infinite, so its "
            says += "weights are not finite"
            yield Spot(layer or WHOLE, says)
    for path, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_var is not None and bool((module.running_var < 0).any()):
            says = "nothing of use: running_var is below zero, and its root is NaN; its statistics are not finite"
            mend = "let the norm measure its statistics again: reset_running_stats(), then some passes in train mode"
            yield Spot(path, says, mend)


def float_networks(network: nn.Module) -> Iterator[Spot]:
    """Find networks without any quantizer of Brevitas."""
    if not any(isinstance(module, QuantProxyFromInjector) for module in network.modules()):
        yield Spot(WHOLE, NOT_QUANTIZED)


def clamped_weights(network: nn.Module) -> Iterator[Spot]:
    """Find a clamp in place at a scale that is computed from the same weights: each forward makes both smaller."""
    for path, quantizer in _quantizers(network):
        clamp = getattr(quantizer, "tensor_clamp_impl", None)
        scaling = getattr(quantizer, "scaling_impl", None)
        if isinstance(clamp, InplaceTensorClampSte) and isinstance(scaling, StatsFromParameterScaling):
            says = "nothing, and gives wrong classes: Brevitas' ClampedBinaryQuant clamps the float weights in place "
            says += "on every forward, in evaluation too, and so shrinks the scale computed from them"
            yield Spot(path, says)


def zero_weights(network: nn.Module) -> Iterator[Spot]:
    """Find layers whose quantized weights are all zero: what they read is lost."""
    for path, layer in _weighted(network):
        weight = layer.quant_weight()
        if not getattr(weight, "value", weight).any():
            says = "nothing, and computes nothing: all its quantized weights are zero, so that no image changes its "
            says += "output"
            yield Spot(path, says)


def learned_zero_points(network: nn.Module) -> Iterator[Spot]:
    """Find asymmetric quantizers: untrained, their zero point may still be 0. Behind a ReLU it stays 0."""
    for path, layer in layers(network):
        for module in layer.modules():
            if isinstance(getattr(module, "activation_impl", None), nn.ReLU):
                break
            zero_point = getattr(getattr(module, "tensor_quant", None), "zero_point_impl", None)
            if zero_point is not None and not isinstance(zero_point, ZeroZeroPoint):
                yield Spot(path, ZERO_POINT)


def learned_signs(network: nn.Module) -> Iterator[Spot]:
    """Find signs whose scale is learned or measured: it is 1 by chance at most."""
    for path, layer in layers(network):
        for module in layer.modules():
            quantizer = getattr(module, "tensor_quant", None)
            if not hasattr(module, "activation_impl") or not isinstance(quantizer, BinaryQuant | ClampedBinaryQuant):
                continue
            if not isinstance(quantizer.scaling_impl, ConstScaling):
                yield Spot(path, SIGN_SCALE)


def one_bit_widths(network: nn.Module) -> Iterator[Spot]:
    """Find integer quantizers of one bit.

    Brevitas exports every quantizer of one bit as the sign, and a signed integer of one bit has no scale.
    """
    for path, quantizer in _quantizers(network):
        width = getattr(quantizer, "msb_clamp_bit_width_impl", None)
        if isinstance(width, nn.Module) and float(width().detach()) == 1:
            says = "Rounding error is too high, or nothing and wrong classes: as an integer quantizer its bit is NaN "
            says += "or 0 and 1, but it is exported as the sign"
            yield Spot(path, says)


def weight_roundings(network: nn.Module) -> Iterator[Spot]:
    """Find weights that are not rounded to the nearest: Brevitas exports them as if they were."""
    for path, layer in _weighted(network):
        for module in layer.weight_quant.modules():
            rounding = getattr(getattr(module, "int_quant", None), "float_to_int_impl", None)
            if rounding is not None and not isinstance(rounding, RoundSte):
                yield Spot(path, rounding_words(type(rounding).__name__.removesuffix("Ste").upper()))


def torch_average_pools(network: nn.Module) -> Iterator[Spot]:
    """Find the average pools of a network that has no graph to look at."""
    for path, layer in layers(network):
        if type(layer) is nn.AvgPool2d:
            yield Spot(path, AVERAGE_POOL)

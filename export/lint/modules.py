"""What only the torch module shows: quantizers that change it, or whose values come with training."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from brevitas.core.function_wrapper import InplaceTensorClampSte
from brevitas.core.function_wrapper.ops_ste import RoundSte
from brevitas.core.quant import BinaryQuant, ClampedBinaryQuant
from brevitas.core.scaling import ConstScaling, StatsFromParameterScaling
from brevitas.core.zero_point import ZeroZeroPoint
from brevitas.nn.mixin.parameter import QuantWeightMixin
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from torch import nn

from qtrain.export.decoupled import is_decoupled
from qtrain.export.lint.finding import PARTITION, UNMAPPED, WHOLE, Finding
from qtrain.export.lint.quantizers import one_bit_finding, rounding_finding, sign_scale_finding, zero_point_finding
from qtrain.export.lint.rules import average_pool_finding
from qtrain.export.proof.reference import layers

ModuleRule = Callable[[nn.Module], Iterator[Finding]]


def module_paths(model: nn.Module) -> tuple[str, ...]:
    """Return the paths of all modules, but of none inside Brevitas' own."""
    own = [path for path, _ in layers(model)]
    parents = {path.rpartition(".")[0] for path in own}
    for path in list(parents):
        while path := path.rpartition(".")[0]:
            parents.add(path)
    return (*own, *sorted(parents - {""}))


def _quantizers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (layer's path, Brevitas' implementation) of every quantizer."""
    for path, layer in layers(model):
        for module in layer.modules():
            implementation = getattr(module, "tensor_quant", None)
            if isinstance(implementation, nn.Module):
                yield path, implementation


def fixed_scales(model: nn.Module) -> frozenset[str]:
    """Return the paths of the layers all of whose quantizers have a constant scale."""
    scales: dict[str, bool] = {}
    for path, quantizer in _quantizers(model):
        constant = isinstance(getattr(quantizer, "scaling_impl", None), ConstScaling)
        scales[path] = scales.get(path, True) and constant
    return frozenset(path for path, constant in scales.items() if constant)


def clamped_weights(model: nn.Module) -> Iterator[Finding]:
    """A clamp in place at a scale that is computed from the same weights: each forward makes both smaller."""
    for path, quantizer in _quantizers(model):
        clamp, scaling = getattr(quantizer, "tensor_clamp_impl", None), getattr(quantizer, "scaling_impl", None)
        if isinstance(clamp, InplaceTensorClampSte) and isinstance(scaling, StatsFromParameterScaling):
            says = (
                "nothing, and gives wrong classes: Brevitas' ClampedBinaryQuant clamps the float weights in place on "
            )
            says += "every forward, in evaluation too, and so shrinks the scale computed from them"
            mend = "set tensor_quant = brevitas.core.quant.BinaryQuant in the quantizer, or scaling_impl_type CONST"
            yield Finding("weights-clamped", "error", path, says, "before FINN: torch itself", mend)


def zero_weights(model: nn.Module) -> Iterator[Finding]:
    """Layers whose quantized weights are all zero: what they read is lost, and behind the last one no class is told."""
    for path, layer in layers(model):
        if not isinstance(layer, QuantWeightMixin) or layer.weight is None or is_decoupled(layer):
            continue
        weight = layer.quant_weight()
        if not getattr(weight, "value", weight).any():
            says = (
                "nothing, and computes nothing: all its quantized weights are zero, so that no image changes its output"
            )
            mend = "train the network, or load its trained weights; look for a scale that has grown beyond the weights"
            yield Finding("zero-weights", "error", path, says, "before FINN: the training", mend)


def zero_points(model: nn.Module) -> Iterator[Finding]:
    """Asymmetric quantizers: untrained, their zero point may still be 0. Behind a ReLU it stays 0."""
    for path, layer in layers(model):
        for module in layer.modules():
            if isinstance(getattr(module, "activation_impl", None), nn.ReLU):
                break
            zero_point = getattr(getattr(module, "tensor_quant", None), "zero_point_impl", None)
            if zero_point is not None and not isinstance(zero_point, ZeroZeroPoint):
                yield zero_point_finding(path)


def learned_signs(model: nn.Module) -> Iterator[Finding]:
    """Signs whose scale is learned or measured: it is 1 by chance at most."""
    for path, layer in layers(model):
        for module in layer.modules():
            quantizer = getattr(module, "tensor_quant", None)
            if not hasattr(module, "activation_impl") or not isinstance(quantizer, BinaryQuant | ClampedBinaryQuant):
                continue
            if not isinstance(quantizer.scaling_impl, ConstScaling):
                yield sign_scale_finding(path)


def one_bit_integers(model: nn.Module) -> Iterator[Finding]:
    """Brevitas exports every quantizer of one bit as the sign, and a signed integer of one bit has no scale."""
    for path, quantizer in _quantizers(model):
        width = getattr(quantizer, "msb_clamp_bit_width_impl", None)
        if isinstance(width, nn.Module) and float(width()) == 1:
            says = (
                "Rounding error is too high, or nothing and wrong classes: as an integer quantizer its bit is NaN or "
            )
            says += "0 and 1, but it is exported as the sign"
            yield one_bit_finding(path, says)


def weight_roundings(model: nn.Module) -> Iterator[Finding]:
    """Weights that are not rounded to the nearest: Brevitas exports them as if they were."""
    for path, layer in layers(model):
        if not isinstance(layer, QuantWeightMixin) or layer.weight is None or is_decoupled(layer):
            continue
        for module in layer.weight_quant.modules():
            rounding = getattr(getattr(module, "int_quant", None), "float_to_int_impl", None)
            if rounding is not None and not isinstance(rounding, RoundSte):
                yield rounding_finding(path, type(rounding).__name__.removesuffix("Ste").upper())


def average_pools(model: nn.Module) -> Iterator[Finding]:
    """For a network that cannot be exported: the average pools that FINN would refuse."""
    for path, layer in layers(model):
        if type(layer) is nn.AvgPool2d:
            yield average_pool_finding(path, whole=False)


def has_quantizers(model: nn.Module) -> bool:
    """Whether any quantizer of Brevitas is in the network."""
    return any(isinstance(module, QuantProxyFromInjector) for module in model.modules())


def not_quantized() -> Finding:
    """Make the finding about a network in float."""
    says = UNMAPPED.format("all of them; it is not quantized")
    mend = "build it of brevitas.nn layers: QuantConv2d, QuantLinear, QuantReLU, QuantIdentity"
    return Finding("not-quantized", "error", WHOLE, says, PARTITION, mend)


MODULE_RULES: tuple[ModuleRule, ...] = (
    zero_weights,
    clamped_weights,
    zero_points,
    learned_signs,
    one_bit_integers,
    weight_roundings,
)

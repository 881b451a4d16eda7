"""A faster forward pass on Brevitas' own parameters, for training.

`fast_forward` gives the Brevitas layers of a network another class each, which differs in training mode only: a
quantizer is then one autograd function (`qtrain.models.straight_through`) where Brevitas walks through a dozen modules.
Parameters, buffers and their names stay, and in evaluation mode so does Brevitas' arithmetic: checkpoints and the
export see nothing of it. `qtrain.models.fast_evaluation` is for validation.

The precision "exact" multiplies the numbers that Brevitas multiplies, in float32. "fast" multiplies integers, in as few
bits as hold them, and applies the scales afterwards; its gradients are multiplied in bfloat16.
"""

from typing import Any, Literal, cast, get_args

from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear, QuantReLU
from brevitas.quant_tensor import QuantTensor
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.fast_quantizer import FastQuantizer, fast_quantizer
from qtrain.models.fused.carried import Integers, Normed
from qtrain.models.fused.functions import dequantized, given
from qtrain.models.fused.fuse import NOT_FUSED, PLAIN_OF_FUSED, Fused, Switch, fuse, unfuse
from qtrain.models.fused.layers import activated, product
from qtrain.models.fused.operators import ROOM
from qtrain.models.fused.self_check import comparisons
from qtrain.models.integer_multiply import Dtypes, grid_dtypes
from qtrain.models.producers import producers
from qtrain.models.step_scales import StepScales
from qtrain.triton_kernels import use_kernels

Precision = Literal["exact", "fast"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


class _FastActivation(nn.Module):
    """The fast forward pass of QuantIdentity and QuantReLU."""

    fast: FastQuantizer
    fused: Fused = NOT_FUSED

    def forward(self, x: Any) -> Any:
        if isinstance(x, Normed):
            return activated(self, x, super().forward)
        if not self.training or isinstance(x, QuantTensor):
            return super().forward(x)
        if self.fused.gives and (dtypes := grid_dtypes(x.device, self.fast, self.fast, x)):
            return given(x, self.fast, dtypes[1])
        return self.fast.activations(x)

    def integer_dtypes(self) -> None:
        """Nothing is multiplied."""


class FastIdentity(_FastActivation, QuantIdentity):
    """QuantIdentity with the fast forward pass."""


class FastReLU(_FastActivation, QuantReLU):
    """QuantReLU with the fast forward pass."""


class _FastWeights(nn.Module):
    """The fast forward pass of QuantConv2d and QuantLinear."""

    fast: FastQuantizer
    weight: Tensor
    source: FastQuantizer | None  # of the input, where it is multiplied on the grid
    fused: Fused = NOT_FUSED

    def forward(self, x: Any) -> Any:
        if self.training and not isinstance(x, QuantTensor) and (dtypes := self.integer_dtypes()):
            return product(self, x, dtypes)
        x = dequantized(x) if isinstance(x, Integers) else x
        if not self.training or isinstance(x, QuantTensor):
            return super().forward(x)
        return cast(Any, self).inner_forward_impl(x, self.fast.weights(self.weight), self.bias)

    def integer_dtypes(self) -> Dtypes | None:
        """What integers are multiplied in; None where the layer multiplies values."""
        if self.source is None:
            return None
        return grid_dtypes(self.weight.device, self.source, self.fast, self.weight)


class FastConv2d(_FastWeights, QuantConv2d):
    """QuantConv2d with the fast forward pass."""


class FastLinear(_FastWeights, QuantLinear):
    """QuantLinear with the fast forward pass."""


_FAST: dict[type, type] = {
    QuantIdentity: FastIdentity,
    QuantReLU: FastReLU,
    QuantConv2d: FastConv2d,
    QuantLinear: FastLinear,
}
_PLAIN = {fast: plain for plain, fast in _FAST.items()}
_QUANTIZERS = (FastIdentity, FastReLU)


def fast_forward(model: nn.Module, precision: Precision = "exact") -> list[str]:
    """Train ``model`` with the fast forward pass from now on; call it again after moving the model to another device.

    Args:
        model: with Brevitas' layers, whose parameters and buffers stay where they are.
        precision: exact or fast; see the module.

    Returns:
        Paths of Brevitas' layers that stay as they are: they give quantized tensors to each other, collect statistics
        of activations, or quantize in a way that is not known here.

    Raises:
        UserError: another precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision must be one of {', '.join(PRECISIONS)}, but got {precision!r}")
    plain_forward(model)
    left = []
    for path, layer in model.named_modules():
        if not isinstance(layer, QuantIdentity | QuantReLU | QuantConv2d | QuantLinear):
            continue
        quantizer = _read(layer) if type(layer) in _FAST and not layer.return_quant_tensor else None
        if quantizer is None:
            left.append(path)
        else:
            layer.fast = quantizer
            layer.source = None
            layer.__class__ = _FAST[type(layer)]
    layers = _fast_layers(model)
    if precision == "fast":
        for consumer, producer in producers(model, layers).items():
            cast(Any, model.get_submodule(consumer)).source = cast(Any, model.get_submodule(producer)).fast
        for device in {parameter.device for parameter in model.parameters()}:
            use_kernels(ROOM, device, comparisons)
        fuse(
            model,
            layers,
            quantizers={layer for layer in layers if isinstance(layer, _QUANTIZERS)},
            products={layer for layer in layers if layer.source is not None},
        )
    scales = StepScales(layers)
    model.register_forward_pre_hook(scales.fill)
    model.register_forward_hook(scales.empty, always_call=True)
    return left


def plain_forward(model: nn.Module) -> None:
    """Give Brevitas' layers, and torch's that are fused with them, their own forward pass back."""
    unfuse(model)
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for number in [
                n for n, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), StepScales | Switch)
            ]:
                del hooks[number]
                module._forward_hooks_always_called.pop(number, None)
    for layer in _fast_layers(model):
        layer.__class__ = _PLAIN[type(layer)]
        del layer.fast, layer.source


def plain_class(module: nn.Module) -> type:
    """Return a layer's class without the fast forward pass."""
    return _PLAIN.get(type(module)) or PLAIN_OF_FUSED.get(type(module), type(module))


def _fast_layers(model: nn.Module) -> list[Any]:
    return [layer for layer in model.modules() if type(layer) in _PLAIN]


def _read(layer: Any) -> FastQuantizer | None:
    if layer.input_quant.is_quant_enabled:
        return None
    if isinstance(layer, QuantIdentity | QuantReLU):
        proxy = layer.act_quant
        if not proxy.is_quant_enabled:
            return None
        relu = isinstance(proxy.fused_activation_quant_proxy.activation_impl, nn.ReLU)
        return fast_quantizer(proxy, relu=relu)
    if layer.output_quant.is_quant_enabled or layer.bias_quant.is_quant_enabled:
        return None
    return fast_quantizer(layer.weight_quant) if layer.weight_quant.is_quant_enabled else None

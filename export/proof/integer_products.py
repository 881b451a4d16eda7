"""Convolutions and linear layers of a float64 network, computed exactly on integers in float32.

Where both sides of a product are integers times a scale and no sum can reach 2**24, float32 holds every partial sum
exactly, so the result is float64's up to 1e-16, at a fifth of its time on a CPU.
"""

from collections.abc import Callable

from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from torch import Tensor, nn

from qtrain.export.execute.integer_grid import EXACT_FLOAT32

ON_GRID = 1e-9  # in steps: float64 leaves 1e-13 at 8 bits, a value off the grid is anywhere
Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _steps(x: Tensor, scale: float) -> Tensor | None:
    """``x`` in whole steps of ``scale`` as float32, None where a value lies between two."""
    steps = x / scale
    whole = steps.round()
    return whole.float() if bool((steps - whole).abs_().amax() <= ON_GRID) else None


class _IntegerProduct:
    """A layer's product; on integers wherever its inputs are, else as the layer has it."""

    def __init__(self, plain: Product, seen: dict[float, None]):
        self.plain = plain
        self.seen = seen
        self.scale: float | None = None

    def _input(self, x: Tensor) -> tuple[float, Tensor] | None:
        """The input's step and its whole steps; the step that was right before comes first."""
        for scale in ([self.scale] if self.scale else []) + sorted(self.seen, reverse=True):
            if (steps := _steps(x, scale)) is not None:
                self.scale = scale
                return scale, steps
        return None

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        scale = getattr(weight, "scale", None)
        if hasattr(x, "scale") or scale is None or (found := self._input(x)) is None:
            return self.plain(x, weight, bias)
        step, steps = found
        whole = (weight.value / scale).round()  # type: ignore[attr-defined]  # a QuantTensor
        if steps.abs().amax() * whole.flatten(1).abs().sum(1).amax() >= EXACT_FLOAT32:
            return self.plain(x, weight, bias)
        per_output = (step * scale).expand(len(whole), *scale.shape[1:]) if scale.dim() else (step * scale).view(1)
        out = self.plain(steps, whole.float(), None).double()
        out *= per_output.reshape(1, -1, *[1] * (out.dim() - 2))
        return out if bias is None else out + getattr(bias, "value", bias).reshape(1, -1, *[1] * (out.dim() - 2))


def use_integer_products(model: nn.Module) -> None:
    """Let every Brevitas layer of ``model`` (float64, evaluation mode) multiply integers where that is exact."""
    seen: dict[float, None] = {}

    def note(_module: nn.Module, _args: object, out: object) -> None:
        scale = getattr(out, "scale", None)
        if isinstance(scale, Tensor) and scale.numel() == 1:
            seen[abs(float(scale))] = None

    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "act_quant":
            module.register_forward_hook(note)
        if isinstance(module, QuantWeightBiasInputOutputLayer):
            module.inner_forward_impl = _IntegerProduct(module.inner_forward_impl, seen)

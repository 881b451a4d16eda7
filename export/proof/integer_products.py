"""Convolutions and linear layers of a float64 network, computed exactly on integers in float32.

Where both sides of a product are integers times a scale, float32 holds every partial sum of the integers exactly, as
they are or in two halves, so the result is float64's up to 1e-16, at an eighth of its time on a CPU.
"""

from collections.abc import Callable
from typing import Any

from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from torch import Tensor, nn

from qtrain.export.execute.whole_products import WholeProduct, whole_product

ON_GRID = 1e-9  # in steps: float64 leaves 1e-13 at 8 bits, a value off the grid is anywhere
Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _steps(x: Tensor, scale: float) -> Tensor | None:
    """``x`` in whole steps of ``scale``, None where a value lies between two."""
    steps = x / scale
    whole = steps.round()
    least, most = steps.sub_(whole).aminmax()
    return whole if bool(least >= -ON_GRID) and bool(most <= ON_GRID) else None


class _WholeWeights:
    """A layer's weights as whole numbers, and how to multiply them with inputs of the range seen so far."""

    def __init__(self, weight: Any, grouped: bool):
        self.weight = weight
        self._whole = (weight.value / weight.scale).round().double()
        self._grouped = grouped
        self._range = (0.0, 0.0)
        self._product: WholeProduct | None = None

    def product(self, whole: Tensor) -> WholeProduct | None:
        """Return the product for these inputs; None where float32 cannot hold its sums."""
        least, most = (float(end) for end in whole.aminmax())
        if self._product is None or least < self._range[0] or most > self._range[1]:
            self._range = (min(least, self._range[0]), max(most, self._range[1]))
            self._product = whole_product(self._whole, *self._range, together=self._grouped)
        return self._product


class _IntegerProduct:
    """A layer's product; on integers wherever its inputs are, else as the layer has it."""

    def __init__(self, plain: Product, seen: dict[float, None], grouped: bool):
        self.plain = plain
        self.seen = seen
        self.scale: float | None = None
        self._grouped = grouped
        self._weights: _WholeWeights | None = None

    def _input(self, x: Tensor) -> tuple[float, Tensor] | None:
        """The input's step and its whole steps; the step that was right before comes first."""
        for scale in ([self.scale] if self.scale else []) + sorted(self.seen, reverse=True):
            if (steps := _steps(x, scale)) is not None:
                self.scale = scale
                return scale, steps
        return None

    def _of(self, weight: Any) -> _WholeWeights:
        if self._weights is None or self._weights.weight is not weight:
            self._weights = _WholeWeights(weight, self._grouped)
        return self._weights

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        scale = getattr(weight, "scale", None)
        if hasattr(x, "scale") or scale is None or (found := self._input(x)) is None:
            return self.plain(x, weight, bias)
        step, steps = found
        product = self._of(weight).product(steps)
        if product is None:
            return self.plain(x, weight, bias)
        single = steps.float()
        out = product(lambda filters: self.plain(single, filters, None), 1)
        outputs = len(product.low)
        per_output = (step * scale).expand(outputs, *scale.shape[1:]) if scale.dim() else (step * scale).view(1)
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
        if isinstance(module, QuantWeightBiasInputOutputLayer) and module.output_channel_dim == 0:
            grouped = getattr(module, "groups", 1) != 1
            module.inner_forward_impl = _IntegerProduct(module.inner_forward_impl, seen, grouped)

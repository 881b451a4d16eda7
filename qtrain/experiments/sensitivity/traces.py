"""The change of the loss by the Hessian's trace, to compare the measured changes with.

A quantizer that is narrowed moves a tensor t of n values by d. To second order the loss, at its minimum, grows by
d'Hd / 2, and where the directions are alike that is trace(H) / n * |d|^2 / 2. The trace is Hutchinson's estimate: the
mean of v'Hv over vectors v of random signs.

Source: Dong et al. 2019, "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks".
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

DRAWS = 8
_SEED = 0
Loss = Callable[[Tensor, Tensor], Tensor]


class Quantizers(Protocol):
    """Which quantizers of a network may have other bits."""

    @property
    def weights(self) -> tuple[str, ...]:
        """Return the paths of layers whose weights may."""

    @property
    def activations(self) -> tuple[str, ...]:
        """Return the paths of activation quantizers that may."""


class Outputs:
    """What goes in and out of every quantizer of a network, to say how far a narrower one moves it.

    Args:
        model: at its widest bits, in evaluation mode.
        images: float [N, C, H, W] in [0, 1].
        quantizers: of the network.
    """

    def __init__(self, model: nn.Module, images: Tensor, quantizers: Quantizers):
        self._given: dict[str, Tensor] = {}
        self._out: dict[str, Tensor] = {}
        hooks = [model.get_submodule(path).register_forward_hook(self._note(path)) for path in quantizers.activations]
        with torch.no_grad():
            model(images)
        for hook in hooks:
            hook.remove()
        for path in quantizers.weights:
            self._out[path] = _weights(model, path)

    def _note(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            self._given.setdefault(path, _value(inputs[0]).detach())
            self._out.setdefault(path, _value(out).detach())

        return hook

    @torch.no_grad()
    def moved(self, narrow: nn.Module, path: str) -> float:
        """Return the mean square that a quantizer's output moves by in a network where it is narrower.

        Of weights the part counts that no factor takes away: a norm behind them does.
        """
        out = self._out[path]
        if path in self._given:
            return float((_value(narrow.get_submodule(path)(self._given[path])) - out).square().mean())
        weights = _weights(narrow, path)
        factor = (weights * out).sum() / weights.square().sum().clamp(min=1e-30)
        return float((factor * weights - out).square().mean())


def traces(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss, quantizers: Quantizers) -> dict[str, float]:
    """Estimate the trace of the loss's Hessian to the tensor of each quantizer, by Hutchinson's method.

    Args:
        model: in evaluation mode.
        images: float [N, C, H, W] in [0, 1].
        labels: int64 [N].
        loss: mean over images, of logits and labels.
        quantizers: of the network.

    Returns:
        By path.

    Raises:
        RuntimeError: torch's, of a layer that has no second derivative.
    """
    tensors: dict[str, Tensor] = {}

    def note(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> None:
            tensors.setdefault(path, _value(out))

        return hook

    hooks = [model.get_submodule(path).register_forward_hook(note(path)) for path in quantizers.activations]
    try:
        value = loss(model(images), labels)
    finally:
        for hook in hooks:
            hook.remove()
    for path in quantizers.weights:
        tensors[path] = model.get_submodule(path).weight  # type: ignore[assignment]
    names = list(tensors)
    slopes = torch.autograd.grad(value, [tensors[name] for name in names], create_graph=True)
    generator = torch.Generator(device="cpu").manual_seed(_SEED)
    found = {}
    for name, slope in zip(names, slopes, strict=True):
        total = 0.0
        for _ in range(DRAWS if slope.requires_grad else 0):
            signs = torch.randint(0, 2, slope.shape, generator=generator).to(slope) * 2 - 1
            (product,) = torch.autograd.grad(slope, tensors[name], signs, retain_graph=True, allow_unused=True)
            total += 0.0 if product is None else float((product * signs).sum())
        found[name] = total / DRAWS
    return found


def _weights(model: nn.Module, path: str) -> Tensor:
    """Return the weights that a layer multiplies with."""
    return _value(model.get_submodule(path).quant_weight()).detach()  # type: ignore[operator]


def _value(tensor: Tensor) -> Tensor:
    """Return the values of what may be a quantized tensor of Brevitas."""
    return tensor.value if hasattr(tensor, "value") else tensor

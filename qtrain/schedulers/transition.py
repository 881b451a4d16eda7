"""Transition-rate scheduling: how many quantized weights change in a step is scheduled, not the learning rate.

Source: Lee, Jeon, Kim, Ham, "Scheduling Weight Transitions for Quantization-Aware Training", ICCV 2025
(arXiv 2404.19248), Section 4.2, Equations 5 and 10 to 12, read in a transcription of the paper. From summaries of its
supplement: the running rate's momentum 0.99, the gain that equals the first rate, the target's start
``factor * sqrt(bits)`` with 5e-3 as the best factor at 2 bits, its cosine to 0. Own choices, where nothing was found:
the running rate starts at 0 (the paper's Figure 3 shows it climb from there), every layer is controlled by itself (the
paper describes "a single layer"), and what is not a quantized weight follows a cosine of the optimizer's rate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qtrain.errors import UserError
from qtrain.schedulers.schedules import cosine

REST = "rest"  # the group of all parameters that no quantized weight is


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight that is trained in float and used in integers.

    Attributes:
        name: Of its layer; also of its parameter group.
        bits: Width of the integers.
        integers: Returns what the float weights stand for at present, a tensor of integers or of a type that holds
            them exactly.
    """

    name: str
    bits: int
    integers: Callable[[], Tensor]


def transition_groups(module: nn.Module) -> tuple[list[dict[str, Any]], list[QuantizedWeight]]:
    """Make the parameter groups and the callables that ``TransitionRate`` needs.

    A layer counts as quantized where it has a trainable ``weight``, a ``weight_quant`` that is enabled and a
    ``quant_weight()`` whose answer has ``value``, ``scale``, ``zero_point`` and ``bit_width``, as Brevitas' have.
    Trained scales of weight quantizers are in no group and stay as they are, as in the paper (footnote 2): else weights
    would change their integers without being updated.

    Args:
        module: The network.

    Returns:
        Groups for an optimizer: one a quantized weight, ``{"name": path of the layer, "params": [weight]}``, and last,
        if anything is left, ``{"name": "rest", "params": [...]}``; and the quantized weights in the same order.

    Raises:
        UserError: No layer has quantized weights.
    """
    groups: list[dict[str, Any]] = []
    weights: list[QuantizedWeight] = []
    seen: set[int] = set()
    for path, layer in module.named_modules():
        if not _has_quantized_weight(layer) or id(layer.weight) in seen:
            continue
        bits = round(float(layer.quant_weight().bit_width))
        name = path or type(layer).__name__
        groups.append({"name": name, "params": [layer.weight]})
        weights.append(QuantizedWeight(name, bits, _integers_of(layer)))
        seen.add(id(layer.weight))
        seen.update(id(p) for p in layer.weight_quant.parameters())
    if not weights:
        raise UserError(
            f"transition-rate scheduling is for quantized weights, and {type(module).__name__} has none; "
            "choose another scheduler or fewer bits"
        )
    rest = [p for p in module.parameters() if p.requires_grad and id(p) not in seen]
    return groups + ([{"name": REST, "params": rest}] if rest else []), weights


class TransitionRate:
    """Keeps each layer's transition rate at a target that falls from ``factor * sqrt(bits)`` to 0 along a cosine.

    After each optimizer step ``t`` of ``T``, for each quantized weight of ``N`` elements:

        k = changed integers / N                                   (Equation 5)
        K = momentum * K + (1 - momentum) * k                      (Equation 10)
        R = factor * sqrt(bits) * (1 + cos(pi * t / T)) / 2
        U = max(0, U + gain * (R - K))                             (Equation 11)

    and ``U`` is the learning rate of the weight's group in the next step (Equation 12). All other groups follow a
    cosine of their own rate to 0. It happens by itself in hooks of the optimizer's step.

    Args:
        optimizer: Over ``transition_groups``' groups, in their order; its rates are where ``U`` and the cosine start.
        weights: ``transition_groups``' quantized weights.
        steps: Optimizer steps of the whole run; afterwards targets and the cosine stay at 0.
        factor: Target rate of a 1-bit weight at the start, above 0 and up to 1: the share of changes in a step.
        momentum: Of the running rate, from 0 to below 1.
        gain: How far the learning rate follows the difference of the rates, above 0; None is the optimizer's rate.

    Attributes:
        running: Running transition rate ``K`` of each quantized weight.
        rates: Transition-adaptive learning rate ``U`` of each quantized weight.

    Raises:
        UserError: A value out of range, groups that are not the weights'.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        weights: Sequence[QuantizedWeight],
        *,
        steps: int,
        factor: float = 5e-3,
        momentum: float = 0.99,
        gain: float | None = None,
    ) -> None:
        _check(steps, factor, momentum, gain)
        names = [group.get("name") for group in optimizer.param_groups]
        if not weights or names[: len(weights)] != [weight.name for weight in weights]:
            raise UserError(
                "TransitionRate needs an optimizer over transition_groups' groups, in their order, "
                f"but got groups {', '.join(map(str, names))}"
            )
        self.optimizer = optimizer
        self.weights = list(weights)
        self.running = [0.0] * len(self.weights)
        self.rates = [float(group["lr"]) for group in optimizer.param_groups[: len(self.weights)]]
        self._rest = [float(group["lr"]) for group in optimizer.param_groups[len(self.weights) :]]
        self._steps = steps
        self._factor = factor
        self._momentum = momentum
        self._gains = [rate if gain is None else gain for rate in self.rates]
        self._taken = 0
        self._integers: list[Tensor] | None = None
        optimizer.register_step_pre_hook(self._before_step)
        optimizer.register_step_post_hook(self._after_step)

    def targets(self) -> list[float]:
        """Return the transition rate ``R`` that each quantized weight shall have now."""
        at = min(self._taken, self._steps)
        return [cosine(at, self._steps, self._factor * math.sqrt(weight.bits)) for weight in self.weights]

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs beside the optimizer's state, readable with ``weights_only=True``."""
        return {
            "names": [weight.name for weight in self.weights],
            "taken": self._taken,
            "running": list(self.running),
            "rates": list(self.rates),
            "rest": list(self._rest),
            "gains": list(self._gains),
            "integers": None if self._integers is None else list(self._integers),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue exactly where ``state_dict`` was taken; the optimizer may be restored before or after.

        Args:
            state_dict: What ``state_dict`` returned, of the same quantized weights.

        Raises:
            UserError: A dictionary of something else or of other weights; nothing is changed then.
        """
        missing = sorted({"names", "taken", "running", "rates", "rest", "gains", "integers"} - set(state_dict))
        if missing:
            raise UserError(f"not the state of a TransitionRate: {', '.join(missing)} missing")
        names = [weight.name for weight in self.weights]
        if state_dict["names"] != names:
            raise UserError(
                f"the state is of the quantized weights {', '.join(state_dict['names'])}, not of {', '.join(names)}"
            )
        self._taken = state_dict["taken"]
        self.running = list(state_dict["running"])
        self.rates = list(state_dict["rates"])
        self._rest = list(state_dict["rest"])
        self._gains = list(state_dict["gains"])
        self._integers = None if state_dict["integers"] is None else list(state_dict["integers"])
        if self._taken:
            self._write()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # The first step's change is from here; later steps start where the one before ended.
        if self._integers is None:
            self._integers = self._read()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        assert self._integers is not None
        before = self._integers
        self._integers = self._read()
        changed = [(now != was.to(now.device)).sum() for now, was in zip(self._integers, before, strict=True)]
        counts = torch.stack(changed).tolist()  # one wait for the device a step
        self._taken += 1
        for i, target in enumerate(self.targets()):
            rate = counts[i] / self._integers[i].numel()
            self.running[i] = self._momentum * self.running[i] + (1 - self._momentum) * rate
            self.rates[i] = max(0.0, self.rates[i] + self._gains[i] * (target - self.running[i]))
        self._write()

    @torch.no_grad()
    def _read(self) -> list[Tensor]:
        # Only whether they differ counts, and of 8 bits or fewer no two fall together in a byte.
        kinds = [torch.int8 if weight.bits <= 8 else torch.int32 for weight in self.weights]
        return [weight.integers().to(kind, copy=True) for weight, kind in zip(self.weights, kinds, strict=True)]

    def _write(self) -> None:
        at = min(self._taken, self._steps)
        rest = [cosine(at, self._steps, rate) for rate in self._rest]
        for group, rate in zip(self.optimizer.param_groups, [*self.rates, *rest], strict=True):
            group["lr"] = rate


def _has_quantized_weight(layer: nn.Module) -> bool:
    weight = getattr(layer, "weight", None)
    quantizer = getattr(layer, "weight_quant", None)
    trained = isinstance(weight, nn.Parameter) and weight.requires_grad
    return trained and hasattr(layer, "quant_weight") and bool(getattr(quantizer, "is_quant_enabled", False))


def _integers_of(layer: nn.Module) -> Callable[[], Tensor]:
    def integers() -> Tensor:
        quantized = layer.quant_weight()  # type: ignore[operator]
        return (quantized.value / quantized.scale + quantized.zero_point).round().to(torch.int32)

    return integers


def _check(steps: int, factor: float, momentum: float, gain: float | None) -> None:
    if steps < 1:
        raise UserError(f"steps must be at least 1, but got {steps}")
    if not 0 < factor <= 1:
        raise UserError(f"factor is a share of the weights, above 0 up to 1, but got {factor}")
    if not 0 <= momentum < 1:
        raise UserError(f"momentum must be from 0 to below 1, but got {momentum}")
    if gain is not None and not (math.isfinite(gain) and gain > 0):
        raise UserError(f"gain must be a positive, finite number, but got {gain}")

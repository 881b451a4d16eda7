"""When the scales of a network are computed at once: at the start of each of its forward passes in training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qtrain.models.at_once import Aside, AtOnce
from qtrain.models.fast_quantizer import Ready
from qtrain.models.scale_plan import Dtypes, Entry, Plan, Weights


class StepScales:
    """Hooks of a network: before its forward pass they compute the scales of its layers, after it they forget them.

    Nothing outlives a forward pass, so that no scale is older than its weights. A layer that is called by itself, that
    is called more often than in any pass before, or whose weights have changed since it began, computes its own.

    Args:
        layers: with the fast forward pass.
    """

    def __init__(self, layers: Sequence[nn.Module]):
        self._layers: list[Any] = list(layers)
        self._calls: dict[Any, int] = {}  # the most in a forward pass, of layers that one has called more than once
        self._plan: Plan | None = None
        self._plan_of: object = None

    def fill(self, model: nn.Module, inputs: object) -> None:
        """Compute what the layers in training mode will ask for, before the forward pass of the network."""
        if torch.compiler.is_compiling():  # a compiler joins kernels itself
            return
        self.forget()
        dtypes = {layer: layer.integer_dtypes() for layer in self._layers if layer.training}
        entries = []
        for layer, found in dtypes.items():
            if (entry := _entry(layer, found)) is not None:
                entries += [entry] * (1 if entry.weights else self._calls.get(layer, 1))
        if not entries:
            return
        plan = self._plan_for(entries)
        learned = [entry.quantizer.parameter for entry in plan.entries if entry.rule.learned]
        weights = [entry.layer.weight for entry in plan.entries if entry.weights is not None]
        aside = Aside()
        found = AtOnce.apply(plan, aside, *learned, *weights)
        for number, (entry, value) in enumerate(zip(plan.entries, found, strict=True)):
            if entry.weights is None and entry.quantizer.ready is not None:
                entry.quantizer.ready.scales.append(value)
            else:
                entry.quantizer.ready = _ready(plan, number, value, aside)

    def empty(self, model: nn.Module, inputs: object, outputs: object) -> None:
        """Forget all of it, after the forward pass of the network."""
        if torch.compiler.is_compiling():
            return
        for layer in self._layers:
            ready = layer.fast.ready
            if ready is not None and ready.calls > self._calls.get(layer, 1):
                self._calls[layer] = ready.calls
        self.forget()

    def forget(self) -> None:
        """Let every layer compute its own scale."""
        for layer in self._layers:
            layer.fast.ready = None

    def _plan_for(self, entries: list[Entry]) -> Plan:
        device = _source(entries[0]).device
        entries = [entry for entry in entries if _source(entry).device == device]
        if self._plan is None or self._plan_of != (device, entries):
            self._plan = Plan(entries, device)
            self._plan_of = device, entries
        return self._plan


def _entry(layer: Any, dtypes: Dtypes | None) -> Entry | None:
    """A layer's quantizer; None where its scale is not computed with the others."""
    quantizer = layer.fast
    if quantizer.rule is None or not all(_is_given(source) for source in quantizer.sources(None)):
        return None
    # Weights that are multiplied as integers are quantized there, in one pass, where the scale is no matter of theirs.
    scale_alone = dtypes is not None and quantizer.rule.learned
    if scale_alone or not isinstance(layer, nn.Conv2d | nn.Linear):
        entry = Entry(quantizer, quantizer.parameter.shape, layer) if quantizer.rule.learned else None
    else:
        entry = _entry_of_weights(layer, dtypes)
    return entry if entry is not None and entry.can_be_together else None


def _entry_of_weights(layer: Any, dtypes: Dtypes | None) -> Entry | None:
    weight: Tensor = layer.weight
    quantizer = layer.fast
    strided = not weight.is_contiguous()
    if not _is_given(weight) or (strided and not weight.is_contiguous(memory_format=torch.channels_last)):
        return None
    each = (len(weight), *[1] * (weight.dim() - 1)) if quantizer.rule.per_channel else ()
    shape = quantizer.parameter.shape if quantizer.rule.learned else torch.Size(each)
    if shape.numel() > 1 and (len(shape) != weight.dim() or shape.numel() != len(weight)):
        return None  # one for each of something else than outputs
    return Entry(quantizer, shape, layer, Weights(weight.shape, strided, dtypes))


def _is_given(source: Tensor) -> bool:
    """Whether a tensor is there before the forward pass; what is computed in each would be that of the last one."""
    return source.is_leaf and source.dtype == torch.float32


def _source(entry: Entry) -> Tensor:
    weight: Tensor | None = None if entry.weights is None else entry.layer.weight
    return entry.quantizer.parameter if weight is None else weight


def _ready(plan: Plan, number: int, value: Tensor, aside: Aside) -> Ready:
    entry = plan.entries[number]
    sources = entry.quantizer.sources(None if entry.weights is None else entry.layer.weight)
    versions = tuple(source._version for source in sources)
    if entry.weights is None:
        return Ready([value], sources, versions)
    scale = aside.scales[plan.places[number]].reshape(entry.shape)
    narrow = None
    if entry.weights.dtypes is not None:
        forward, backward = aside.narrow[plan.group_of(number)]
        narrow = plan.part(forward, number), plan.part(backward, number)
    return Ready([scale], sources, versions, value, narrow)

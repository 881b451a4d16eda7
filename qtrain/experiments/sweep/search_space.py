"""Which bits the layers of a sweep's network can have, how far two choices are apart, and what they are called."""

import itertools
from collections.abc import Mapping, Sequence
from math import log2
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.experiments.networks import activation_bits
from qtrain.experiments.sweep.plan import SweepPlan
from qtrain.experiments.sweep.planned_cell import SEARCH, PlannedCell
from qtrain.models.bits import FLOAT, parse_bits
from qtrain.models.count import weight_bits
from qtrain.recipe import Recipe

Widths = dict[str, int]  # bits of every quantizer, by the path that --bits names it by
Pair = tuple[int, int]


class SearchSpace:
    """The widths that a search chooses from.

    A quantizer's choices are the bits that the sweep's own cells give it. So weights and activations have the axes'
    widths; sums of residual branches, which are never narrower than 4 bits, have the wider ones alone; and the
    images' quantizer, which is the same in all cells, is no variable.

    Args:
        plan: of the sweep.
        data_root: where to look for the data, whose classes the network has.

    Attributes:
        choices: of every quantizer that has any, in the network's order.

    Raises:
        UserError: nothing to choose.
    """

    def __init__(self, plan: SweepPlan, data_root: str | Path | None = None):
        self._plan = plan
        self._data_root = data_root
        self._weights: dict[int, Widths] = {}
        self._acts: dict[int, Widths] = {}
        self._count_uniform()
        own = [self.widths(cell) for cell in plan.cells() if cell.start != SEARCH]
        self.choices: dict[str, tuple[int, ...]] = {}
        for path in own[0]:
            bits = {widths[path] for widths in own}
            if len(bits) > 1:
                self.choices[path] = tuple(sorted(bits))
        if not self.choices:
            raise UserError("a search needs two widths or more to choose from, such as --weight-bits 1,2,4,8")

    def _count_uniform(self) -> None:
        """Build few networks: weights' bits depend on one axis, activations' on the other."""
        weight_axis = self._plan.weight_bits
        act_axis = self._plan.act_bits
        for i in range(max(len(weight_axis), len(act_axis))):
            weight = weight_axis[min(i, len(weight_axis) - 1)]
            act = act_axis[min(i, len(act_axis) - 1)]
            weights, acts = _network_bits(self._recipe((weight, act), ""), self._data_root)
            self._weights[weight] = weights
            self._acts[act] = acts

    @property
    def weights(self) -> tuple[str, ...]:
        """Return the paths of layers whose weights have a choice."""
        known = next(iter(self._weights.values()))
        return tuple(path for path in self.choices if path in known)

    @property
    def activations(self) -> tuple[str, ...]:
        """Return the paths of activation quantizers that have a choice."""
        return tuple(path for path in self.choices if path not in self.weights)

    def widest(self) -> Widths:
        """Return the most bits that each quantizer may have."""
        return {path: max(bits) for path, bits in self.choices.items()}

    def recipe(self, chosen: Mapping[str, int]) -> Recipe:
        """Return the recipe of the network with these bits: that of the sweep's cells, but for network and bits."""
        return self._recipe(*self.name(chosen))

    def fixed(self) -> Widths:
        """Return the bits of the quantizers that have no choice."""
        pair = (self._plan.weight_bits[0], self._plan.act_bits[0])
        return {path: bits for path, bits in self._uniform(pair).items() if path not in self.choices}

    def _recipe(self, pair: Pair, bits: str) -> Recipe:
        return self._plan.recipe.replace(network=f"{self._plan.family}_{pair[0]}W{pair[1]}A", bits=bits)

    def _uniform(self, pair: Pair) -> Widths:
        return self._weights[pair[0]] | self._acts[pair[1]]

    def widths(self, cell: PlannedCell) -> Widths:
        """Return the bits of every quantizer of a cell."""
        pair = (cell.weight_bits, cell.act_bits)
        if cell.bits and cell.start != SEARCH:  # a user's expression may name roles and patterns
            weights, acts = _network_bits(self._recipe(pair, cell.bits), self._data_root)
            return weights | acts
        named = {entry.pattern: entry.weight_bits or 0 for entry in parse_bits(cell.bits)}
        return self._uniform(pair) | named

    def chosen(self, widths: Widths) -> tuple[int, ...]:
        """Return what was chosen, in the order of ``choices``; two networks with the same are one network."""
        return tuple(widths[path] for path in self.choices)

    def name(self, chosen: Mapping[str, int]) -> tuple[Pair, str]:
        """Return the network's weight and activation bits, and the expression for the layers that differ.

        Of all networks the one is taken that leaves fewest layers to name, then the narrowest.
        """

        def differing(pair: Pair) -> dict[str, int]:
            uniform = self._uniform(pair)
            return {path: bits for path, bits in chosen.items() if uniform[path] != bits}

        narrowest_first = itertools.product(sorted(self._plan.weight_bits), sorted(self._plan.act_bits))
        closest = min(narrowest_first, key=lambda pair: len(differing(pair)))
        expression = ",".join(f"{path}={bits}" for path, bits in differing(closest).items())
        return closest, expression


def distance(ours: Widths, theirs: Widths) -> float:
    """Return how far two choices are apart: by how many doublings of its bits each quantizer differs, in all."""
    return sum(abs(log2(bits / theirs[path])) for path, bits in ours.items())


def nearest(widths: Widths, trained: Sequence[tuple[Widths, dict[str, Any]]]) -> dict[str, Any]:
    """Return the row of the trained cell at the least distance; of several the most accurate on validation."""

    def order(cell: tuple[Widths, dict[str, Any]]) -> tuple[float, float]:
        known, row = cell
        return distance(widths, known), -row["validation_accuracy"]

    _, row = min(trained, key=order)
    return row


def _network_bits(recipe: Recipe, data_root: str | Path | None) -> tuple[Widths, Widths]:
    """Return bits of a network's weights and of its activations."""
    model = model_of(recipe, data_root)
    weights = {}
    for path, module in model.named_modules():
        if hasattr(module, "weight_quant"):
            bits = weight_bits(module)
            if bits != FLOAT:
                weights[path] = bits
    return weights, activation_bits(model)

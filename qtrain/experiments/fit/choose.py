"""The bits and foldings with the least growth of the loss that keep within limits, by an exact solver.

Two kinds of yes-or-no variables: a quantizer of activations has these bits; a layer has these bits of weights, gets
inputs of these bits and is folded like this. The second kind ties to the first: a layer gets the bits that the
quantizer before it has. Resources and the loss's growth are sums over them; the frame rate leaves out foldings that
are too slow before the solver begins.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from qtrain.errors import UserError
from qtrain.experiments.fit.cost import KINDS, CostModel, Folding
from qtrain.experiments.sensitivity.growth import Growth
from qtrain.experiments.sensitivity.structure import Widths
from qtrain.interrupt import left_on_stop

SECONDS = 60.0  # of the solver, for one bound
WIDEST_STREAM = 8191  # bits of weights that FINN's code takes a cycle for each processing element
_TIE = 3e-4  # share of the largest growth that the LUTs of the smallest network weigh: of equals the smaller wins
_SAME = 0.01  # relative difference of costs that is none


@dataclass(frozen=True)
class Choice:
    """A network that the solver found.

    Attributes:
        bits: of every quantizer that may have others.
        folding: PE and SIMD by layer.
        change: of the loss, the sum over its quantizers.
        predicted: LUT, BRAM_18K, DSP and cycles, by the cost model.
        bound: the most LUTs that it was allowed.
        proven: whether the solver has shown that none is better.
    """

    bits: Widths
    folding: Folding
    change: float
    predicted: dict[str, float]
    bound: float
    proven: bool


@dataclass(frozen=True)
class _Option:
    """One way to have a layer."""

    path: str
    weight: int
    given: int
    out: int  # 0 where the bits behind the layer cost nothing in it
    pe: int
    simd: int
    amounts: tuple[float, ...]


class Solver:
    """Chooses bits and foldings.

    Args:
        model: of the costs.
        growth: of the loss.
        limits: the most of each resource.
        cycles: the most that a layer may take for a frame.
        stop: says whether to leave a choice; each raises ``Interrupted`` then.

    Raises:
        UserError: a layer is too slow however it is folded; says how many frames it can make.
    """

    def __init__(
        self,
        model: CostModel,
        growth: Growth,
        limits: Mapping[str, float],
        cycles: float,
        stop: Callable[[], bool] = lambda: False,
    ):
        self.model = model
        self._stop = stop
        self._growth = growth
        self._limits = dict(limits)
        self._quantizers = [(p, b) for p in model.structure.activations for b in sorted(self._growth[p])]
        self._options = [option for path in model.units for option in self._layer(path, cycles)]
        self._make()

    def _layer(self, path: str, cycles: float) -> list[_Option]:
        """List the ways to have a layer that are fast enough, and that no other is as good as in all resources."""
        model = self.model
        node = model.units[path]
        layer = model.structure.layers[path]
        sink = layer.sinks[0] if layer.sinks else ""
        weights = sorted(self._growth.get(path, {node.weight_bits: 0.0}))
        inputs = sorted(self._growth.get(layer.source, {model.structure.fixed.get(layer.source, 0): 0.0}))
        outputs = sorted(self._growth.get(sink, {model.structure.fixed.get(sink, node.output_bits): 0.0}))
        pe, simd = _foldings(node.rows, node.columns, node.operator.startswith("MVAU"), (node.pe, node.simd))
        lanes = model.windows.get(path, 1)  # FINN widens a stream by whole factors
        even = np.maximum(simd, lanes) % np.minimum(simd, lanes) == 0
        fast = even & (model.cycles(path, pe, simd) <= cycles)
        found = []
        for weight in weights:
            fits = fast & (simd * weight <= WIDEST_STREAM)
            if not fits.any():
                raise UserError(
                    f"{path} takes {float(model.cycles(path, pe, simd).min()):,.0f} cycles a frame however it is "
                    f"folded, and only {cycles:,.0f} are there; ask for fewer frames/s, or give a faster clock"
                )
            for given in inputs:
                narrow = fits & (simd * given <= WIDEST_STREAM)
                found += self._ways(path, weight, given, outputs, pe[narrow], simd[narrow])
        return found

    def _ways(self, path: str, weight: int, given: int, outputs: Sequence[int], pe: Any, simd: Any) -> list[_Option]:
        costs = []
        for out in outputs:
            amounts = self.model.amounts(path, weight, given, out, pe, simd)
            costs.append(np.stack([np.broadcast_to(amounts[kind], pe.shape) for kind in KINDS], axis=1))
        if np.allclose(costs[0], costs[-1], rtol=_SAME, atol=1.0):
            outputs, costs = [0], [np.max(costs, axis=0)]
        found = []
        for out, cost in zip(outputs, costs, strict=True):
            for i in _undominated(cost):
                found.append(_Option(path, weight, given, out, int(pe[i]), int(simd[i]), tuple(cost[i])))
        return found

    def _make(self) -> None:
        """Write the problem as matrices: quantizers' variables first, then the options."""
        structure = self.model.structure
        count = len(self._quantizers) + len(self._options)
        first = len(self._quantizers)
        at = {key: i for i, key in enumerate(self._quantizers)}
        rows: list[dict[int, float]] = []
        right: list[float] = []
        for path in structure.activations:
            rows.append({at[path, bits]: 1.0 for bits in self._growth[path]})
            right.append(1.0)
        each: dict[str, dict[int, float]] = {}
        ties: dict[tuple[str, str, str, int], dict[int, float]] = {}
        for i, option in enumerate(self._options, first):
            layer = structure.layers[option.path]
            each.setdefault(option.path, {})[i] = 1.0
            ties.setdefault((option.path, "source", layer.source, option.given), {})[i] = 1.0
            if option.out and layer.sinks:
                ties.setdefault((option.path, "sink", layer.sinks[0], option.out), {})[i] = 1.0
        rows += each.values()
        right += [1.0] * len(each)
        for (_, _, quantizer, bits), row in ties.items():
            tied = (quantizer, bits) in at
            rows.append(row | ({at[quantizer, bits]: -1.0} if tied else {}))
            right.append(0.0 if tied else 1.0)
        self._equal = (_sparse(rows, count), np.array(right))
        self._costs = np.zeros((len(KINDS), count))
        for key, i in at.items():
            amounts = self.model.of_quantizer(*key)
            self._costs[:, i] = [amounts[kind] for kind in KINDS]
        for i, option in enumerate(self._options, first):
            self._costs[:, i] = option.amounts
        self._smallest = sum(min(self._costs[0, i] for i in row) for row in each.values()) + 1.0
        self._constant = self.model.constant()
        self._loss = np.zeros(count)
        for (path, bits), i in at.items():
            self._loss[i] = self._growth[path][bits]
        for i, option in enumerate(self._options, first):
            self._loss[i] = self._growth.get(option.path, {}).get(option.weight, 0.0)

    def choose(
        self,
        lut: float,
        others: Sequence[Mapping[str, int]] = (),
        apart: int = 1,
        limits: Mapping[str, float] | None = None,
    ) -> Choice | None:
        """Return the network with the least growth of the loss.

        Args:
            lut: the most LUTs, beside the other limits.
            others: networks that it must not be.
            apart: quantizers in which it must differ from each of them.
            limits: on the other resources, in place of the solver's own.

        Returns:
            None where there is none.
        """
        weight = _TIE * max(float(self._loss.max()), 1e-12) / self._smallest
        within = {**(self._limits if limits is None else limits), "LUT": lut}
        return self._solve(self._loss + weight * self._costs[0], within, others, apart)

    def least(self, kind: str, limits: Mapping[str, float]) -> Choice | None:
        """Return the network with the least of a resource within limits on others; None where there is none."""
        weight = 1e-6 / max(float(self._costs.sum()), 1.0)
        return self._solve(self._costs[KINDS.index(kind)] + weight * self._costs.sum(axis=0), limits, (), 1)

    def cheapest(self, change: float, limits: Mapping[str, float]) -> Choice | None:
        """Return the network with the fewest LUTs whose loss grows by no more than ``change``, within limits."""
        loss = LinearConstraint(csr_array(self._loss[None]), -np.inf, change)
        return self._solve(self._costs[0], limits, (), 1, more=[loss])

    def fold(self, bits: Mapping[str, int]) -> Choice | None:
        """Return the cheapest folding of a network; None where none keeps within the limits."""
        fixed = [bits[path] == width for path, width in self._quantizers]
        fixed += [bits.get(option.path, option.weight) == option.weight for option in self._options]
        return self._solve(self._costs[0], self._limits, (), 1, upper=np.array(fixed, dtype=float))

    def front(self, lut: float, points: int) -> list[Choice]:
        """Return networks at growing bounds on LUTs, none of which another one beats; the last is within ``lut``."""
        smallest = self.least("LUT", {kind: most for kind, most in self._limits.items() if kind != "LUT"})
        best = self.choose(lut)
        if smallest is None or best is None:
            return []
        low = smallest.predicted["LUT"]
        high = best.predicted["LUT"]
        found: list[Choice] = []
        for i in range(points - 1):
            chosen = self.choose(low * (max(high, low) / low) ** (i / (points - 1)) + 1.0)
            if chosen is not None and (not found or chosen.change < found[-1].change):
                found.append(chosen)
        if not found or best.change < found[-1].change:
            found.append(best)
        return found

    def _solve(
        self,
        aim: Any,
        limits: Mapping[str, float],
        others: Sequence[Mapping[str, int]],
        apart: int,
        upper: Any = 1.0,
        more: Sequence[LinearConstraint] = (),
    ) -> Choice | None:
        matrix, right = self._equal
        constraints = [LinearConstraint(matrix, right, right), *more]
        for kind, most in limits.items():
            if kind in KINDS:
                row = csr_array(self._costs[[KINDS.index(kind)]])
                constraints.append(LinearConstraint(row, -np.inf, most - self._constant[kind]))
        for other in others:
            row, count = self._likeness(other)
            constraints.append(LinearConstraint(row, -np.inf, count - apart))
        scale = max(float(np.abs(aim).max()), 1e-12)
        solve = partial(
            milp,
            aim / scale,
            constraints=constraints,
            integrality=np.ones(len(aim)),
            bounds=Bounds(0, upper),
            options={"time_limit": SECONDS, "mip_rel_gap": 1e-6},
        )
        found = left_on_stop(solve, self._stop)
        if found.x is None:
            return None
        return self._read(np.asarray(found.x) > 0.5, limits.get("LUT", np.inf), found.status == 0)

    def _likeness(self, other: Mapping[str, int]) -> tuple[Any, int]:
        """Return the row that counts the quantizers that are as in another network, and how many there are."""
        first = len(self._quantizers)
        row = {i: 1.0 for i, (path, bits) in enumerate(self._quantizers) if other[path] == bits}
        for i, option in enumerate(self._options, first):
            if other.get(option.path) == option.weight:
                row[i] = 1.0
        counted = [path for path in self.model.structure.weights if path in self.model.units]
        return _sparse([row], first + len(self._options)), len(self.model.structure.activations) + len(counted)

    def _read(self, chosen: Any, bound: float, proven: bool) -> Choice:
        first = len(self._quantizers)
        bits = self.model.structure.widest()
        bits |= {path: width for i, (path, width) in enumerate(self._quantizers) if chosen[i]}
        folding: Folding = {}
        for option, taken in zip(self._options, chosen[first:], strict=True):
            if taken:
                folding[option.path] = (option.pe, option.simd)
                if option.path in bits:
                    bits[option.path] = option.weight
        change = sum(self._growth[path][bits[path]] for path in bits)
        return Choice(bits, folding, change, self.model.predict(bits, folding), bound, proven)


def _foldings(rows: int, columns: int, free: bool, own: tuple[int, int]) -> tuple[Any, Any]:
    """Return all PE and SIMD of a matrix unit, or FINN's own of another unit."""
    if not free:
        return np.array([own[0]]), np.array([own[1]])
    pe, simd = np.meshgrid(_divisors(rows), _divisors(columns))
    return pe.ravel(), simd.ravel()


def _divisors(number: int) -> Any:
    return np.array([i for i in range(1, number + 1) if number % i == 0])


def _undominated(costs: Any) -> list[int]:
    """Return the rows that no other is as cheap as in every column; of equal ones the first."""
    kept: list[int] = []
    for i in np.lexsort(costs.T[::-1]):
        if not any((costs[j] <= costs[i] + 1e-9).all() for j in kept):
            kept.append(int(i))
    return kept


def _sparse(rows: Sequence[Mapping[int, float]], columns: int) -> Any:
    data = [value for row in rows for value in row.values()]
    place = [i for row in rows for i in row]
    starts = np.cumsum([0, *(len(row) for row in rows)])
    return csr_array((data, place, starts), shape=(len(rows), columns))

"""The bits with the least growth of the loss within a bound on bit operations, by an exact solver.

Yes-or-no variables: a quantizer has these bits. A layer's bit operations are a product of two quantizers' bits, so that
each pair of widths has a variable of its own: 1 where both are chosen.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from qtrain.experiments.sensitivity.growth import Growth
from qtrain.experiments.sweep.bops import Bops, LayerBops
from qtrain.experiments.sweep.search_space import Widths

SECONDS = 60.0  # of the solver, for one bound
TIE = 1e-4  # share of the largest growth that all bit operations weigh: of equals the cheaper wins
_Row = dict[int, float]


class LeastGrowth:
    """Chooses networks.

    Args:
        growth: of the loss, by quantizer and bits; bits that are not in it are none to choose.
        bops: of the networks.
    """

    def __init__(self, growth: Growth, bops: Bops):
        self._growth = growth
        self._bops = bops
        self._quantizers = [(path, bits) for path in growth for bits in sorted(growth[path])]
        self._at = {key: i for i, key in enumerate(self._quantizers)}
        self._rows: list[_Row] = [{self._at[path, bits]: 1.0 for bits in growth[path]} for path in growth]
        self._right = [1.0] * len(growth)
        costs = [0.0] * len(self._quantizers)
        for layer in bops.layers:
            costs += self._pairs(layer, len(costs))
        self._whole = sum(costs)
        self._costs = np.array(costs) / self._whole
        growths = np.zeros(len(costs))
        growths[: len(self._quantizers)] = [growth[path][bits] for path, bits in self._quantizers]
        self._aim = growths / max(growths.max(), 1e-12) / TIE + self._costs  # the solver takes 1e-6 for nothing

    def _pairs(self, layer: LayerBops, first: int) -> Iterator[float]:
        """Yield the costs of a layer's pairs of widths, and tie the pairs to the quantizers that have a choice."""
        ties: dict[tuple[str, int], _Row] = {}
        every: _Row = {}
        at = first
        for weight in self._growth.get(layer.path, {self._bops.weight_bits(layer, {}): 0.0}):
            for given in self._growth.get(layer.source, layer.inputs):
                every[at] = 1.0
                for key in ((layer.path, weight), (layer.source, given)):
                    if key in self._at:
                        ties.setdefault(key, {})[at] = 1.0
                at += 1
                yield layer.bops(weight, given)
        self._rows += [every, *({**row, self._at[key]: -1.0} for key, row in ties.items())]
        self._right += [1.0, *(0.0 for _ in ties)]

    def choose(self, bound: float, others: Sequence[Mapping[str, int]] = ()) -> tuple[Widths, bool] | None:
        """Return the network with the least growth, of equals the cheapest.

        Args:
            bound: the most bit operations.
            others: networks that it must not be.

        Returns:
            Its bits, and whether the solver has proven that none grows less; None where there is none.
        """
        count = len(self._costs)
        right = np.array(self._right)
        able = [other for other in others if all(other[path] in self._growth[path] for path in self._growth)]
        unlike = [{self._at[path, other[path]]: 1.0 for path in self._growth} for other in able]
        constraints = [
            LinearConstraint(_sparse(self._rows, count), right, right),
            LinearConstraint(csr_array(self._costs[None, :]), -np.inf, bound / self._whole),
            *(LinearConstraint(_sparse([row], count), -np.inf, len(row) - 1) for row in unlike),
        ]
        first = len(self._quantizers)
        found = milp(
            self._aim,
            constraints=constraints,
            integrality=np.arange(count) < first,  # pairs follow from them
            bounds=Bounds(0, 1),
            options={"time_limit": SECONDS, "mip_rel_gap": 1e-7},
        )
        if found.x is None:
            return None
        taken = np.asarray(found.x)[:first] > 0.5
        bits = {path: width for (path, width), yes in zip(self._quantizers, taken, strict=True) if yes}
        return bits, found.status == 0


def _sparse(rows: Sequence[_Row], columns: int) -> Any:
    data = [value for row in rows for value in row.values()]
    place = [i for row in rows for i in row]
    starts = np.cumsum([0, *(len(row) for row in rows)])
    return csr_array((data, place, starts), shape=(len(rows), columns))

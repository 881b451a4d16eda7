"""A model of what FINN estimates: LUT, BRAM and DSP of a network at any bits and foldings, fitted to its own figures.

Units with weights are counted by what they are made of (``terms.py``), with one set of coefficients a kind of unit.
Nodes without weights (windows, pools, additions) keep FINN's own folding, so that they depend on the bits of the
quantizers next to them alone; each place has its own coefficients. All coefficients are of least squares, none below 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import nnls

from qtrain.errors import UserError
from qtrain.experiments.fit.hardware import UNITS
from qtrain.experiments.fit.terms import Numbers, Unit, bit_terms, bram_terms, dsp_terms, lut_terms
from qtrain.experiments.sensitivity.structure import Layer, Structure
from qtrain.records.fit import CompiledNetwork, HardwareNode

KINDS = ("LUT", "BRAM_18K", "DSP")
_FIELDS = {"LUT": "lut", "BRAM_18K": "bram_18k", "DSP": "dsp"}
_TERMS: dict[str, Callable[[Unit], Numbers]] = {"LUT": lut_terms, "BRAM_18K": bram_terms, "DSP": dsp_terms}
Folding = dict[str, tuple[int, int]]  # PE and SIMD by layer
Place = tuple[str, str]  # layer that nodes are next to, as FINN's places have it, and their operator


@dataclass(frozen=True)
class ModelError:
    """How far the model is off on networks that it was not fitted to.

    Attributes:
        networks: that it was judged on.
        lut: median of the relative error of a network's LUTs.
        lut_most: the largest.
        layer_lut: median of the relative error of a unit's LUTs.
        bram: median of the absolute error of a network's block RAMs.
        dsp: median of the absolute error of its DSP slices.
        cycles: median of the relative error of its cycles.
    """

    networks: int
    lut: float
    lut_most: float
    layer_lut: float
    bram: float
    dsp: float
    cycles: float


@dataclass(frozen=True)
class _Fitted:
    """One kind of unit's coefficients, by kind of resource."""

    coefficients: Mapping[str, Numbers]

    def amounts(self, unit: Unit) -> dict[str, Numbers]:
        return {kind: _TERMS[kind](unit) @ self.coefficients[kind] for kind in KINDS}


class CostModel:
    """Predicts FINN's estimates.

    Args:
        structure: of the network.
        networks: that FINN was asked about; those that are held out are passed over.

    Attributes:
        units: a node of FINN's for each layer with weights, for its sizes, by path.
        floor: cycles of the slowest node without weights.
        windows: values a cycle that come in from the window before a layer, by path.

    Raises:
        UserError: FINN's nodes cannot be told apart.
    """

    def __init__(self, structure: Structure, networks: Sequence[CompiledNetwork]):
        self.structure = structure
        self._networks = [network for network in networks if not network.held_out]
        self._paths = {layer.node: path for path, layer in structure.layers.items()}
        self._rows = [
            (n, node, self._paths[node.place]) for n in self._networks for node in n.nodes if self._is_unit(node)
        ]
        if not self._rows:
            raise UserError("FINN's layers cannot be paired with the network's, so that nothing says what bits cost")
        self.units = {path: node for _, node, path in reversed(self._rows)}
        self._input_gain = self._offsets(lambda node: node.input_bits, self._plain_input)
        self._sum_gain = self._offsets(lambda node: node.sum_bits, self._sum_bound)
        self._operators = self._observed_operators()
        self._fitted = {
            operator: self._fit_units(operator) for operator in {node.operator for _, node, _ in self._rows}
        }
        self._others: dict[Place, tuple[tuple[str, ...], dict[str, Numbers]]] = {}
        self._fit_others()
        first = self._networks[0]
        windows = [node for node in first.nodes if node.place.startswith("before ") and node.simd]
        self.windows = {self._paths.get(node.place.removeprefix("before "), ""): node.simd for node in windows}
        self.floor = max((node.cycles for node in first.nodes if not self._is_unit(node)), default=0)

    def _is_unit(self, node: HardwareNode) -> bool:
        return node.operator.startswith(UNITS) and node.place in self._paths

    # Bits inside a unit, which follow from those that are chosen.

    def _plain_input(self, path: str, bits: Mapping[str, int]) -> int:
        """Return the bits of the quantizer before a layer; 0 where there is none."""
        source = self.structure.layers[path].source
        return bits.get(source, self.structure.fixed.get(source, 0))

    def _sum_bound(self, path: str, bits: Mapping[str, int]) -> int:
        return _sum_bits(self.units[path].columns, bits.get(path, 0), self._plain_input(path, bits))

    def _offsets(
        self, of: Callable[[HardwareNode], int], plain: Callable[[str, Mapping[str, int]], int]
    ) -> dict[str, float]:
        """Return by how many bits FINN's nodes have more than the plain sum says, by layer."""
        found: dict[str, list[int]] = {}
        for network, node, path in self._rows:
            found.setdefault(path, []).append(of(node) - plain(path, network.bits))
        return {path: median(offsets) for path, offsets in found.items()}

    def unit(self, path: str, weight: int, given: int, out: int, pe: Any, simd: Any) -> Unit:
        """Return a layer's unit.

        Args:
            path: of the layer.
            weight: bits of its weights.
            given: bits of the quantizer before it.
            out: bits of the quantizer behind it.
            pe: processing elements, one number or an array.
            simd: lanes of each, likewise.
        """
        node = self.units[path]
        sums = _sum_bits(node.columns, weight, given) + self._sum_gain[path]
        return Unit(
            pe=np.asarray(pe, dtype=float),
            simd=np.asarray(simd, dtype=float),
            columns=node.columns,
            rows=node.rows,
            weight_bits=weight,
            input_bits=given + self._input_gain[path],
            output_bits=out,
            sum_bits=sums,
            thresholds=float(node.thresholds),
        )

    def amounts(self, path: str, weight: int, given: int, out: int, pe: Any, simd: Any) -> dict[str, Numbers]:
        """Return LUT, BRAM and DSP of a layer's unit; arguments are those of ``unit``."""
        return self._fitted[self.operator(path, weight, given)].amounts(self.unit(path, weight, given, out, pe, simd))

    def cycles(self, path: str, pe: Any, simd: Any) -> Any:
        """Return the cycles that a layer's unit takes for a frame."""
        node = self.units[path]
        return node.positions * node.columns * node.rows / (np.asarray(pe) * np.asarray(simd))

    # Fitting.

    def _observed_operators(self) -> dict[str, list[tuple[int, int, str]]]:
        found: dict[str, list[tuple[int, int, str]]] = {}
        for network, node, path in self._rows:
            given = self._plain_input(path, network.bits)
            found.setdefault(path, []).append((network.bits.get(path, node.weight_bits), given, node.operator))
        return found

    def operator(self, path: str, weight: int, given: int) -> str:
        """Return the kind of unit that FINN takes for a layer: the one at the nearest bits that it was asked about."""
        observed = self._operators[path]
        return min(observed, key=lambda seen: (_apart(seen[0], weight) + _apart(seen[1], given), seen))[2]

    def _of_row(self, network: CompiledNetwork, node: HardwareNode, path: str) -> Unit:
        weight = network.bits.get(path, node.weight_bits)
        sinks = self.structure.layers[path].sinks
        out = self._bits_of(sinks[0], network.bits) if sinks else node.output_bits
        return self.unit(path, weight, self._plain_input(path, network.bits), out, node.pe, node.simd)

    def _fit_units(self, operator: str) -> _Fitted:
        rows = [(self._of_row(*row), row[1]) for row in self._rows if row[1].operator == operator]
        coefficients = {}
        for kind, terms in _TERMS.items():
            matrix = np.stack([terms(unit) for unit, _ in rows])
            coefficients[kind] = _least_squares(matrix, [getattr(node, _FIELDS[kind]) for _, node in rows])
        return _Fitted(coefficients)

    def _bits_of(self, path: str, bits: Mapping[str, int]) -> int:
        return bits.get(path, self.structure.fixed.get(path, 0))

    def _fit_others(self) -> None:
        """Fit the nodes without weights, by what they are next to and their operator."""
        places: dict[Place, None] = {}
        for network in self._networks:
            places |= dict.fromkeys(_place(node) for node in network.nodes if not self._is_unit(node))
        for place in places:
            near = self._near(place[0])
            rows = [np.concatenate([[1.0], *(bit_terms(n.bits[path]) for path in near)]) for n in self._networks]
            sums = {kind: [self._sum(network, place, kind) for network in self._networks] for kind in KINDS}
            matrix = np.stack(rows)
            self._others[place] = (near, {kind: _least_squares(matrix, sums[kind]) for kind in KINDS})

    def _sum(self, network: CompiledNetwork, place: Place, kind: str) -> float:
        nodes = [node for node in network.nodes if not self._is_unit(node) and _place(node) == place]
        return float(sum(getattr(node, _FIELDS[kind]) for node in nodes))

    def _near(self, place: str) -> tuple[str, ...]:
        """Return the quantizers that nodes at a place may depend on, those with one width left out."""
        side, _, name = place.rpartition(" ")
        path = self._paths.get(name)
        if path is None:
            return ()
        layer: Layer = self.structure.layers[path]
        near = (layer.source,) if side == "before" or not layer.sinks else (*layer.sinks, *layer.beyond)
        return tuple(path for path in near if path in self.structure.activations)

    # Predictions.

    def constant(self) -> dict[str, float]:
        """Return what the nodes without weights take whatever the bits are."""
        return {kind: sum(float(found[kind][0]) for _, found in self._others.values()) for kind in KINDS}

    def of_quantizer(self, path: str, bits: int) -> dict[str, float]:
        """Return what an activation quantizer's bits add to the nodes without weights next to it."""
        terms = bit_terms(bits)
        total = dict.fromkeys(KINDS, 0.0)
        for near, found in self._others.values():
            if path in near:
                at = 1 + len(terms) * near.index(path)
                for kind in KINDS:
                    total[kind] += float(terms @ found[kind][at : at + len(terms)])
        return total

    def predict(self, bits: Mapping[str, int], folding: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """Return LUT, BRAM_18K, DSP and cycles of a network.

        Args:
            bits: of every quantizer that may have others.
            folding: PE and SIMD of every layer.
        """
        total = self.constant()
        for path in self.structure.activations:
            for kind, amount in self.of_quantizer(path, bits[path]).items():
                total[kind] += amount
        slowest = float(self.floor)
        for path, node in self.units.items():
            given = self._plain_input(path, bits)
            sinks = self.structure.layers[path].sinks
            out = self._bits_of(sinks[0], bits) if sinks else node.output_bits
            pe, simd = folding[path]
            found = self.amounts(path, bits.get(path, node.weight_bits), given, out, pe, simd)
            for kind in KINDS:
                total[kind] += float(found[kind])
            slowest = max(slowest, float(self.cycles(path, pe, simd)))
        return total | {"cycles": slowest}

    def folding_of(self, network: CompiledNetwork) -> Folding:
        """Return how FINN's units of a network are folded, by layer."""
        found = {self._paths[node.place]: (node.pe, node.simd) for node in network.nodes if self._is_unit(node)}
        return {path: found[path] for path in self.units}

    def error(self, networks: Sequence[CompiledNetwork]) -> ModelError:
        """Judge the model on networks."""
        lut, layers, bram, dsp, cycles = [], [], [], [], []
        for network in networks:
            found = self.predict(network.bits, self.folding_of(network))
            used = network.used
            lut.append(abs(found["LUT"] - used["LUT"]) / used["LUT"])
            bram.append(abs(found["BRAM_18K"] - used["BRAM_18K"]))
            dsp.append(abs(found["DSP"] - used["DSP"]))
            slowest = max(node.cycles for node in network.nodes)
            cycles.append(abs(found["cycles"] - slowest) / slowest)
            for node in network.nodes:
                if self._is_unit(node) and node.lut:
                    path = self._paths[node.place]
                    unit = self._of_row(network, node, path)
                    given = self._plain_input(path, network.bits)
                    operator = self.operator(path, network.bits.get(path, node.weight_bits), given)
                    layers.append(abs(float(self._fitted[operator].amounts(unit)["LUT"]) - node.lut) / node.lut)
        return ModelError(
            networks=len(networks),
            lut=median(lut),
            lut_most=max(lut),
            layer_lut=median(layers) if layers else 0.0,
            bram=median(bram),
            dsp=median(dsp),
            cycles=median(cycles),
        )


def _place(node: HardwareNode) -> Place:
    return node.place, node.operator


def _apart(first: int, second: int) -> float:
    return abs(log2(max(first, 1)) - log2(max(second, 1)))


def _sum_bits(columns: int, weight: int, given: int) -> int:
    """Return the bits that a sum of so many products may need."""
    return ceil(log2(max(columns, 1))) + weight + given


def _least_squares(matrix: Numbers, amounts: Sequence[float]) -> Numbers:
    """Return coefficients of least squares, none below 0; the columns are of very different sizes."""
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12)
    found, _ = nnls(matrix / scale, np.asarray(amounts, dtype=float))
    return np.asarray(found / scale)

"""A network of three layers and what a compiler of plain arithmetic says of it: its costs are known to the last LUT."""

import itertools
import math
from collections.abc import Mapping

from qtrain.experiments.sensitivity.structure import Layer, Structure
from qtrain.records.fit import CompiledNetwork, HardwareNode, Sensitivity, SensitivityFile

WIDTHS = (2, 4, 8)
STRUCTURE = Structure(
    weights=("a", "b", "c"),
    activations=("act1", "act2"),
    fixed={"input": 8},
    layers={
        "a": Layer("a", "input", ("act1",), ()),
        "b": Layer("b", "act1", ("act2",), ()),
        "c": Layer("c", "act2", (), ()),
    },
)
SIZES = {"a": (9, 8, 64), "b": (72, 16, 16), "c": (64, 10, 1)}  # columns, rows, positions
BASE = 300
WINDOW = 50  # LUTs of the windows before b, whatever their bits
PER_BIT = 12


def unit_lut(pe: int, simd: int, weight: int, given: int) -> float:
    both = weight + given
    return BASE + pe * (simd * both * (2 * math.ceil(both / 6) - 1) + (2 * simd - 1) * both)


def node(path: str, bits: Mapping[str, int], pe: int, simd: int) -> HardwareNode:
    columns, rows, positions = SIZES[path]
    layer = STRUCTURE.layers[path]
    given = bits.get(layer.source, 8)
    sums = math.ceil(math.log2(columns)) + bits[path] + given - 2
    return HardwareNode(
        name=f"MVAU_hls_{path}",
        operator="MVAU_hls",
        place=path,
        pe=pe,
        simd=simd,
        columns=columns,
        rows=rows,
        positions=positions,
        weight_bits=bits[path],
        input_bits=given,
        output_bits=bits[layer.sinks[0]] if layer.sinks else sums,
        sum_bits=sums,
        thresholds=bool(layer.sinks),
        cycles=positions * columns * rows // (pe * simd),
        lut=round(unit_lut(pe, simd, bits[path], given)),
        bram_18k=math.ceil(columns * rows * bits[path] / 18432),
        uram=0,
        dsp=0,
    )


def network(
    name: str, bits: Mapping[str, int], folding: Mapping[str, tuple[int, int]], held_out: bool = False
) -> CompiledNetwork:
    window = WINDOW + PER_BIT * bits["act1"]
    nodes = [node(path, bits, *folding[path]) for path in STRUCTURE.weights]
    nodes.append(
        HardwareNode(
            name="ConvolutionInputGenerator_rtl_0",
            operator="ConvolutionInputGenerator_rtl",
            place="before b",
            cycles=500,
            lut=window,
            bram_18k=0,
            uram=0,
            dsp=0,
        )
    )
    slowest = max(one.cycles for one in nodes)
    return CompiledNetwork(
        name=name,
        bits=bits,
        folding={},
        width=36,
        held_out=held_out,
        fps=1e8 / slowest,
        nodes=tuple(nodes),
        seconds=1.0,
    )


def networks(count: int = 12, held_out: int = 0) -> list[CompiledNetwork]:
    """Some networks whose bits and foldings differ from one another."""
    choices = list(itertools.product(WIDTHS, repeat=5))
    foldings = [{"a": (1, 3), "b": (1, 8), "c": (1, 1)}, {"a": (2, 9), "b": (4, 2), "c": (2, 4)}]
    found = []
    for i in range(count):
        bits = dict(zip(STRUCTURE.variables, choices[(i * 37 + 5) % len(choices)], strict=True))
        found.append(network(f"probe{i}", bits, foldings[i % 2], i >= count - held_out))
    return found


def sensitivities() -> SensitivityFile:
    """Growth of the loss that is larger for some quantizers than for others; one is within the noise."""
    worth = {"a": 0.9, "b": 0.1, "c": 0.3, "act1": 0.5, "act2": 0.05}
    entries = []
    for path in STRUCTURE.variables:
        kind = "weights" if path in STRUCTURE.weights else "activations"
        for bits in (4, 2):
            change = worth[path] * (0.1 if bits == 4 else 1.0)
            entries.append(Sensitivity(path, kind, bits, -0.01 if (path, bits) == ("b", 4) else change, 90.0, 0.1))
    return SensitivityFile(
        weights="0" * 64, images=100, norm_images=100, loss=0.5, accuracy=95.0, entries=tuple(entries), complete=True
    )

"""What the hardware of a layer is made of, as numbers that a cost is a sum of multiples of.

A matrix unit multiplies SIMD inputs in each of its PE processing elements by as many weights, adds the products in a
tree, accumulates the sum and compares it with thresholds. The terms are those of the FINN-R paper; what each costs is
fitted to FINN's estimates.

Source: Blott et al. 2018, "FINN-R: An End-to-End Deep-Learning Framework for Fast Exploration of Quantized Neural
Networks", Section 4.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INPUTS = 6  # of a look-up table
_DEEP = 64  # values that a look-up table holds as memory
_RAM_SHAPES = ((1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512))  # of a RAMB18: width, depth
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """A matrix or vector unit, or many, with arrays for numbers.

    Attributes:
        pe: processing elements.
        simd: lanes of each.
        columns: of the weight matrix.
        rows: of the weight matrix.
        weight_bits: of a weight.
        input_bits: of what comes in.
        output_bits: of what goes out.
        sum_bits: of the accumulator.
        thresholds: whether there are any.
    """

    pe: Any
    simd: Any
    columns: Any
    rows: Any
    weight_bits: Any
    input_bits: Any
    output_bits: Any
    sum_bits: Any
    thresholds: Any


def lut_terms(unit: Unit) -> Numbers:
    """Return what LUTs are counted by, [..., terms]."""
    both = unit.weight_bits + unit.input_bits
    lanes = unit.pe * unit.simd
    steps = np.exp2(unit.output_bits) * unit.sum_bits * unit.pe * unit.thresholds
    memory = np.ceil(unit.rows / unit.pe / _DEEP)
    return _stacked(
        1.0 + 0.0 * lanes,
        lanes * both * (2 * np.ceil(both / _INPUTS) - 1),  # multipliers
        (2 * lanes - unit.pe) * both,  # trees of adders
        unit.pe * unit.sum_bits,  # accumulators
        steps,  # comparators
        steps * memory,  # thresholds
        lanes * unit.weight_bits,  # weights' streams
    )


def bram_terms(unit: Unit) -> Numbers:
    """Return what block RAMs are counted by, [..., terms]: those that the weights fill, in the shape they are read."""
    width = unit.pe * unit.simd * unit.weight_bits
    depth = unit.columns * unit.rows / (unit.pe * unit.simd)
    wide = np.where(depth > _RAM_SHAPES[-1][1], _blocks(width, depth, *_RAM_SHAPES[-2]), 0.0)
    blocks = np.where(wide > 0, wide, _blocks(width, depth, *_RAM_SHAPES[-1]))
    for columns, words in reversed(_RAM_SHAPES[:-1]):
        blocks = np.where(width <= columns, _blocks(width, depth, columns, words), blocks)
    return _stacked(blocks, 1.0 + 0.0 * blocks)


def dsp_terms(unit: Unit) -> Numbers:
    """Return what DSP slices are counted by, [..., terms]: products, four or three in one slice, or one."""
    return _stacked(unit.pe * unit.simd + 0.0, np.ceil(unit.pe / 4) * unit.simd, unit.pe * np.ceil(unit.simd / 3.0))


def bit_terms(bits: Any) -> Numbers:
    """Return what nodes without weights are counted by, [..., terms], of the bits of a quantizer next to them."""
    return _stacked(bits + 0.0, np.exp2(bits))


def _blocks(width: Any, depth: Any, columns: int, words: int) -> Any:
    return np.ceil(width / columns) * np.ceil(depth / words)


def _stacked(*terms: Any) -> Numbers:
    return np.stack(np.broadcast_arrays(*(np.asarray(term, dtype=float) for term in terms)), axis=-1)

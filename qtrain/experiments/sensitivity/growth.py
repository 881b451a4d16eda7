"""What each width of each quantizer costs in loss, by what was measured one quantizer at a time."""

from collections.abc import Mapping
from math import inf

from qtrain.records.fit import SensitivityFile

Growth = dict[str, dict[int, float]]  # of the loss, by quantizer and bits


def growth_of(found: SensitivityFile, widest: Mapping[str, int]) -> Growth:
    """Return what each width of each quantizer costs in loss; fewer bits never less than more, and none below 0.

    A loss that falls when a quantizer is narrowed says that the change is within the noise. Bits at which it is no
    number are none to choose.

    Args:
        found: what was measured.
        widest: bits of the network that it was measured on, by quantizer.
    """
    growth: Growth = {path: {bits: 0.0} for path, bits in widest.items()}
    for entry in sorted(found.entries, key=lambda entry: -entry.bits):
        if entry.change is None:
            continue
        wider = growth[entry.path]
        wider[entry.bits] = max(entry.change, *wider.values())
    return growth


def summed(growth: Growth, bits: Mapping[str, int]) -> float:
    """Return the sum of the changes of a network's quantizers; infinite at bits that are none to choose.

    Args:
        growth: of the loss.
        bits: of every quantizer in ``growth``; others play no part.
    """
    return sum(by_bits.get(bits[path], inf) for path, by_bits in growth.items())

"""How weights start, and the ranges that follow from it. The zoo's table names these, so torch is imported late."""

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from qtrain.models.scalings import gaussian_range

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Uniform:
    """Weights drawn from U(-1, 1) and kept there: bnn_pynq's, for CNV and the fully connected networks."""

    def limit(self, fan_in: int, bits: int) -> float:
        """Range of the weights of a layer with ``fan_in`` inputs to each output."""
        return 1.0

    def binary_scale(self, fan_in: int) -> float:
        """Magnitude of 1-bit weights."""
        return 1.0

    def clips(self, bits: int, constant: bool) -> bool:
        """Whether the float weights are kept within the limit."""
        return constant or bits == 1

    def initialise(self, weight: "Tensor") -> None:
        """Draw the weights, from torch's global generator."""
        from torch import nn

        nn.init.uniform_(weight, -1, 1)


@dataclass(frozen=True)
class Kaiming:
    """He's normal weights with standard deviation sqrt(2 / fan-in), for deep networks.

    1-bit weights have that deviation as their magnitude (McDonnell, arXiv 1802.08530, equation 1), so that a layer's
    output varies as in float; they are not clipped.
    """

    def limit(self, fan_in: int, bits: int) -> float:
        """The best range for the initial weights."""
        return gaussian_range(bits) * sqrt(2 / fan_in)

    def binary_scale(self, fan_in: int) -> float:
        """Magnitude of 1-bit weights."""
        return sqrt(2 / fan_in)

    def clips(self, bits: int, constant: bool) -> bool:
        """Only a fixed range of integers needs the weights to stay within."""
        return constant and bits > 1

    def initialise(self, weight: "Tensor") -> None:
        """Draw the weights, from torch's global generator."""
        from torch import nn

        nn.init.kaiming_normal_(weight, nonlinearity="relu")

"""`Layers`: makes the layers of one network, quantized as its name, its bits and its scales say, or plain in float.

A network's file then says only its structure; each layer is made with the path it will have in the network, because
``--bits`` speaks of paths.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from brevitas.nn import QuantConv2d, QuantLinear
from torch import nn

from qtrain.models.bits import FLOAT, BitWidths
from qtrain.models.initial_weights import Kaiming, Uniform
from qtrain.models.layers import ScalarNorm
from qtrain.models.names import NetworkName
from qtrain.models.network import Network
from qtrain.models.quantizers import Scales, fixed_point_input
from qtrain.models.scalings import gaussian_range
from qtrain.models.shapes import Size, height_and_width

Role = Literal["first", "inner", "last"]


def scaled(channels: int, width: float) -> int:
    """``channels * width`` rounded to a multiple of 8 (at least 8), so that FINN can fold the layer."""
    return max(8, 8 * round(channels * width / 8))


@dataclass
class Layers:
    """Makes layers; collects what the network must know of them.

    Attributes:
        name: weight and activation bits, or float.
        bits: resolves each quantizer's bits.
        scales: of all quantizers.
        weights: how weights start, and the ranges that follow from it.
        float_activation: what a hidden activation is where activations are not quantized.
        limits: of the float weights that the network clips after each optimizer step, by layer path.
    """

    name: NetworkName
    bits: BitWidths
    scales: Scales
    weights: Uniform | Kaiming = field(default_factory=Kaiming)
    float_activation: Callable[[], nn.Module] = nn.ReLU
    limits: dict[str, float] = field(default_factory=dict)
    _made: list[nn.Module] = field(default_factory=list)

    def conv(
        self,
        path: str,
        inputs: int,
        outputs: int,
        kernel: Size,
        *,
        stride: int = 1,
        padding: Size = 0,
        groups: int = 1,
        role: Role = "inner",
    ) -> nn.Module:
        """A convolution without bias: a norm follows it. FINN takes 1 group, or as many as inputs and outputs."""
        shape = {"kernel_size": kernel, "stride": stride, "padding": padding, "groups": groups, "bias": False}
        if self.name.weight_bits == FLOAT:
            layer: nn.Module = nn.Conv2d(inputs, outputs, **shape)  # type: ignore[arg-type]
        else:
            fan_in = inputs // groups * prod(height_and_width(kernel))
            options = self._weights(path, fan_in, role, channels=outputs)
            layer = QuantConv2d(inputs, outputs, **shape, **options)
        self._made.append(layer)
        return layer

    def linear(self, path: str, inputs: int, outputs: int, *, role: Role = "inner", bias: bool = False) -> nn.Module:
        """A fully connected layer; ``bias`` is kept in float only: FINN would leave it in software."""
        if self.name.weight_bits == FLOAT:
            layer: nn.Module = nn.Linear(inputs, outputs, bias=bias)
        else:
            # FINN keeps TopK in software behind a last layer with a scale for each class.
            channels = None if role == "last" else outputs
            layer = QuantLinear(inputs, outputs, bias=False, **self._weights(path, inputs, role, channels=channels))
        self._made.append(layer)
        return layer

    def _weights(self, path: str, fan_in: int, role: Role, *, channels: int | None) -> dict[str, object]:
        bits = self.bits.weights(path, role)
        limit = self.weights.limit(fan_in, bits)
        if self.weights.clips(bits, self.scales.scaling == "constant"):
            self.limits[path] = limit
        return self.scales.weights(bits, limit, binary_scale=self.weights.binary_scale(fan_in), channels=channels)

    def relu(self, path: str) -> nn.Module:
        """A hidden activation from zero up (1 bit: the sign)."""
        if self.name.act_bits == FLOAT:
            return self.float_activation()
        return self.scales.relu(self.bits.activations(path))

    def signed(self, path: str, role: Literal["inner", "input"] = "inner") -> nn.Module:
        """An activation in [-1, 1] at the start (1 bit: the sign); in float, hidden ones only are limited to that."""
        if self.name.act_bits == FLOAT:
            return self.float_activation() if role == "inner" else nn.Identity()
        return self.scales.signed(self.bits.activations(path, role))

    def sum(self, path: str, deviation: float = 1.0) -> nn.Module:
        """The ONE quantizer of both branches of a residual addition; FINN adds integers of one scale.

        Args:
            path: of the quantizer.
            deviation: standard deviation of what it quantizes, at the start.
        """
        if self.name.act_bits == FLOAT:
            return nn.Identity()
        bits = self.bits.activations(path, "add")
        return self.scales.signed(bits, deviation * gaussian_range(bits))

    def input(self, path: str = "input") -> nn.Module:
        """The fixed-point quantizer of images in [-1, 1)."""
        return nn.Identity() if self.name.act_bits == FLOAT else fixed_point_input(self.bits.activations(path, "input"))

    def classifier(self, path: str, inputs: int, classes: int) -> tuple[nn.Module, nn.Module]:
        """The last layer and the norm of its logits; in float a plain layer with bias."""
        last = self.linear(path, inputs, classes, role="last", bias=True)
        return last, nn.Identity() if self.name.weight_bits == FLOAT else ScalarNorm()

    def finish(self, network: Network) -> None:
        """Draw all weights, in the order the layers were made in, and hand name and limits to the finished network.

        Raises:
            UserError: an entry of the bits' expression matches no layer.
        """
        self.bits.check_all_used(str(self.name))
        for layer in self._made:
            self.weights.initialise(layer.weight)  # type: ignore[arg-type]
        network.name = str(self.name)
        network.weight_limits = self.limits

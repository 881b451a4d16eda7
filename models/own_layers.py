"""The layers of a network of one's own: made by path, quantized as the zoo's are.

What `qtrain.models.quantize` writes uses it:

    class Net(OwnNetwork):
        def __init__(self, weight_bits=4, act_bits=4, num_classes=10):
            super().__init__()
            layers = OwnLayers(self, weight_bits, act_bits)
            layers.add_input("input")
            layers.add_conv("stem.conv", 3, 16, 3, padding=1, role="first")
            ...
            layers.finish()

``add_conv("layer1.0.conv1", ...)`` makes the layer and the groups it lies in, so that ``self.layer1[0].conv1`` is there
and its weights are named as in the float network. With 32 bits everything is a plain layer of torch: the float twin.
"""

from typing import cast

from brevitas.nn import QuantConv2d, QuantLinear
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.models.bits import FLOAT, BitWidths, check_bits
from qtrain.models.factory import Layers, Role
from qtrain.models.layers import ScalarNorm
from qtrain.models.names import NetworkName
from qtrain.models.network import Network
from qtrain.models.quantizers import Scales
from qtrain.models.scalings import Scaling, check_scaling

Pair = int | tuple[int, int]


class Group(nn.Module):
    """Layers under one name; ``group[0]`` is the child named ``0``."""

    def __getitem__(self, name: int | str) -> nn.Module:
        """Return a child by the name it has in paths."""
        return self.get_submodule(str(name))


class OwnNetwork(Network):
    """Base of networks whose layers `OwnLayers` makes; images come in [0, 1] and are moved to [-1, 1] for `logits`."""

    def __getitem__(self, name: int | str) -> nn.Module:
        """Return a child by the name it has in paths."""
        return self.get_submodule(str(name))


class PixelNetwork(OwnNetwork):
    """One that takes the 8-bit pixels as they are, in [0, 1]: its convolutions pad with black, not with grey."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes] of images in [0, 1], where they stay."""
        return self.logits(x)


class OwnLayers(Layers):
    """Makes the layers of one network under their paths.

    Args:
        network: gets the layers.
        weight_bits: of all weights, 1 to 8; 32 with 32 activation bits makes the float twin.
        act_bits: of all hidden activations.
        bits: other bits for single layers, ``"first=8,layer1.*=2"``; see `qtrain.models.bits.parse_bits`.
        input_bits: of the first quantizer.
        scaling: where ranges come from; "auto" is "learned", which calibration fits to the float weights.
        power_of_two: round the scales of 2 bits and more to powers of two.
        per_channel: weights with a scale for each output channel, but in the last layer.

    Raises:
        UserError: bits outside 1 to 8, one kind of bits in float alone, or an unknown scaling.
    """

    def __init__(
        self,
        network: Network,
        weight_bits: int,
        act_bits: int,
        *,
        bits: str = "",
        input_bits: int = 8,
        scaling: str = "auto",
        power_of_two: bool = False,
        per_channel: bool = True,
    ):
        for what, value in (("weight_bits", weight_bits), ("act_bits", act_bits)):
            if (weight_bits, act_bits) != (FLOAT, FLOAT):
                check_bits(what, value)
        chosen = "learned" if scaling == "auto" else check_scaling(scaling)
        super().__init__(
            name=NetworkName(type(network).__name__, weight_bits, act_bits),
            bits=BitWidths(weight_bits, act_bits, bits, input_bits),
            scales=Scales(cast(Scaling, chosen), power_of_two, per_channel),
        )
        if isinstance(network, PixelNetwork) and input_bits != 8:
            raise UserError(f"{self.name} has no input quantizer, its pixels have 8 bits; leave out input_bits")
        self.network = network

    def place(self, path: str, layer: nn.Module) -> None:
        """Put a layer under its path; the groups above it are made where they are missing."""
        parent: nn.Module = self.network
        *groups, name = path.split(".")
        for group in groups:
            if group not in dict(parent.named_children()):
                parent.add_module(group, Group())
            parent = parent.get_submodule(group)
        parent.add_module(name, layer)

    def add_input(self, path: str) -> None:
        """Add the fixed-point quantizer of images in [-1, 1)."""
        self.place(path, self.input(path))

    def add_conv(
        self,
        path: str,
        inputs: int,
        outputs: int,
        kernel: Pair,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = False,
        role: Role = "inner",
    ) -> None:
        """Add a convolution; a bias stays in float, for the thresholds behind it to absorb."""
        shape = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        if self.name.weight_bits == FLOAT:
            layer: nn.Module = nn.Conv2d(inputs, outputs, bias=bias, **shape)  # type: ignore[arg-type]
        else:
            channels = None if role == "last" else outputs
            options = self._weights(path, inputs // groups * height * width, role, channels=channels)
            layer = QuantConv2d(inputs, outputs, bias=bias, **shape, **options)
        self._made.append(layer)
        self.place(path, layer)

    def add_linear(self, path: str, inputs: int, outputs: int, *, bias: bool = False, role: Role = "inner") -> None:
        """Add a fully connected layer; a bias stays in float, for the thresholds behind it to absorb."""
        if self.name.weight_bits == FLOAT:
            layer: nn.Module = nn.Linear(inputs, outputs, bias=bias)
        else:
            layer = QuantLinear(inputs, outputs, bias=bias, **self._weights(path, inputs, role, channels=outputs))
        self._made.append(layer)
        self.place(path, layer)

    def add_head(self, path: str, inputs: int, classes: int, norm: str) -> None:
        """Add the last layer, without bias and with one scale, and the norm of its logits."""
        last, norm_out = self.classifier(path, inputs, classes)
        self.place(path, last)
        self.place(norm, norm_out)

    def add_head_conv(self, path: str, inputs: int, classes: int, norm: str) -> None:
        """Add a 1x1 convolution as the last layer, and the norm of its logits; in float it has a bias and no norm."""
        in_float = self.name.weight_bits == FLOAT
        self.add_conv(path, inputs, classes, 1, bias=in_float, role="last")
        self.place(norm, nn.Identity() if in_float else ScalarNorm())

    def add_norm(self, path: str, channels: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        """Add a batch normalisation of images."""
        self.place(path, nn.BatchNorm2d(channels, eps, momentum))

    def add_row_norm(self, path: str, features: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        """Add a batch normalisation of rows."""
        self.place(path, nn.BatchNorm1d(features, eps, momentum))

    def add_relu(self, path: str, limit: float | None = None) -> None:
        """Add an activation from zero up; a limit holds in float, where quantized the range itself is one."""
        if self.name.act_bits == FLOAT and limit is not None:
            self.place(path, nn.Hardtanh(0.0, limit))
        else:
            self.place(path, self.relu(path))

    def add_signed(self, path: str, limit: float = 1.0) -> None:
        """Add an activation within [-limit, limit]."""
        if self.name.act_bits == FLOAT:
            self.place(path, nn.Hardtanh(-limit, limit))
        else:
            self.place(path, self.scales.signed(self.bits.activations(path), limit))

    def add_quantizer(self, path: str) -> None:
        """Add a signed quantizer where a layer would get floats; in float there is none."""
        if self.name.act_bits == FLOAT:
            self.place(path, nn.Identity())
        else:
            self.place(path, self.scales.signed(self.bits.activations(path), 2.0))

    def add_sum(self, path: str) -> None:
        """Add the ONE quantizer of all branches that end in an addition."""
        self.place(path, self.sum(path))

    def finish(self, network: Network | None = None) -> None:
        """Draw all weights, in the order the layers were made in; the network gets its name.

        Raises:
            UserError: an entry of the bits' expression matches no layer.
        """
        super().finish(self.network if network is None else network)

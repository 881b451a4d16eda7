"""TFC, SFC and LFC, the fully connected networks of the FINN paper, in the structure of Brevitas' bnn_pynq."""

from torch import nn

from qtrain.models.factory import Layers, scaled
from qtrain.models.network import Network

DROPOUT = 0.2


class FullyConnected(Network):
    """Three hidden layers of equal size with dropout before each layer.

    Children are named ``flatten, input, drop0, fc1, norm1, act1, drop1, ..., fc4, norm4``.

    Args:
        layers: makes them.
        hidden: features of a hidden layer, at width 1.
        num_classes: logits an image.
        in_channels: image channels.
        image_size: height and width; 28 for MNIST.
        width: multiplies the hidden features.
    """

    def __init__(
        self, layers: Layers, *, hidden: int, num_classes: int, in_channels: int, image_size: int, width: float
    ):
        super().__init__()
        features = in_channels * image_size**2
        out = scaled(hidden, width)
        self.add_module("flatten", nn.Flatten())
        self.add_module("input", layers.signed("input", "input"))
        self.add_module("drop0", nn.Dropout(DROPOUT))
        for i in range(1, 4):
            role = "first" if i == 1 else "inner"
            self.add_module(f"fc{i}", layers.linear(f"fc{i}", features, out, role=role))  # type: ignore[arg-type]
            self.add_module(f"norm{i}", nn.BatchNorm1d(out))
            self.add_module(f"act{i}", layers.signed(f"act{i}"))
            self.add_module(f"drop{i}", nn.Dropout(DROPOUT))
            features = out
        self.fc4, self.norm4 = layers.classifier("fc4", features, num_classes)

"""VGG10 for modulated signals (RadioML; arXiv 1712.04578), in the structure of Xilinx/brevitas-radioml-challenge-21."""

from torch import nn

from qtrain.models.factory import Layers, scaled
from qtrain.models.network import Network

CONVOLUTIONS = 7
CHANNELS = 64
HIDDEN = (128, 128)


class VGG10RadioML(Network):
    """Seven convolutions over time with max-pools that halve it, then three fully connected layers.

    Children are named ``input, conv1, norm1, act1, pool1, ..., flatten, fc1, norm8, act8, fc2, ..., fc3, norm_out``.
    Signals [N, 2, L] come as images [N, 2, L, 1], so the published 1-D kernels of 3 are 3x1 here, the pools 2x1: FINN's
    images have two axes. Pixels of 0 to 255 are I and Q over the range that the data were scaled to.

    What differs from the published network so that FINN takes it whole: the last layer has no bias, which only the
    float twin keeps, and the input's range is fixed at [-1, 1).

    Args:
        layers: makes them.
        num_classes: logits a signal, 24 for RadioML 2018.
        in_channels: 2, I and Q.
        image_size: (L, 1), L a multiple of 128; 1024 for RadioML 2018.
        width: multiplies all channel and feature counts.
    """

    def __init__(
        self, layers: Layers, *, num_classes: int, in_channels: int, image_size: tuple[int, int], width: float
    ):
        super().__init__()
        self.add_module("input", layers.input())
        features = in_channels
        length, columns = image_size
        for i in range(1, CONVOLUTIONS + 1):
            out = scaled(CHANNELS, width)
            conv = layers.conv(f"conv{i}", features, out, (3, 1), padding=(1, 0), role="first" if i == 1 else "inner")
            self.add_module(f"conv{i}", conv)
            self.add_module(f"norm{i}", nn.BatchNorm2d(out))
            self.add_module(f"act{i}", layers.relu(f"act{i}"))
            self.add_module(f"pool{i}", nn.MaxPool2d((2, 1)))
            length //= 2
            features = out
        self.add_module("flatten", nn.Flatten())
        features *= length * columns
        for i, hidden in enumerate(HIDDEN, 1):
            out = scaled(hidden, width)
            norm = CONVOLUTIONS + i
            self.add_module(f"fc{i}", layers.linear(f"fc{i}", features, out))
            self.add_module(f"norm{norm}", nn.BatchNorm1d(out))
            self.add_module(f"act{norm}", layers.relu(f"act{norm}"))
            features = out
        self.fc3, self.norm_out = layers.classifier("fc3", features, num_classes)

"""CNV, the VGG-like network of the FINN paper (arXiv 1612.07119), in the structure of Brevitas' bnn_pynq."""

from torch import nn

from qtrain.models.factory import Layers, scaled
from qtrain.models.network import Network

CONVOLUTIONS = ((64, False), (64, True), (128, False), (128, True), (256, False), (256, False))  # channels, max-pool
HIDDEN = (512, 512)
BATCH_NORM_EPS = 1e-4


class CNV(Network):
    """Six 3x3 convolutions without padding and three fully connected layers.

    Children are named ``input, conv1, norm1, act1, ..., fc3, norm9``; the exported graph carries the names.

    Args:
        layers: makes them.
        num_classes: logits an image.
        in_channels: image channels.
        image_size: height and width; 32 leaves 1x1 before the fully connected layers.
        width: multiplies all channel and feature counts.
    """

    def __init__(self, layers: Layers, *, num_classes: int, in_channels: int, image_size: int, width: float):
        super().__init__()
        self.add_module("input", layers.input())
        size = image_size
        features = in_channels
        for i, (channels, pool) in enumerate(CONVOLUTIONS, 1):
            out = scaled(channels, width)
            role = "first" if i == 1 else "inner"
            self.add_module(f"conv{i}", layers.conv(f"conv{i}", features, out, 3, role=role))  # type: ignore[arg-type]
            self.add_module(f"norm{i}", nn.BatchNorm2d(out, eps=BATCH_NORM_EPS))
            self.add_module(f"act{i}", layers.signed(f"act{i}"))
            size = size - 2
            features = out
            if pool:
                self.add_module(f"pool{i}", nn.MaxPool2d(2))
                size //= 2
        self.add_module("flatten", nn.Flatten())
        features *= size * size
        for i, hidden in enumerate(HIDDEN, 1):
            out = scaled(hidden, width)
            norm = len(CONVOLUTIONS) + i
            self.add_module(f"fc{i}", layers.linear(f"fc{i}", features, out))
            self.add_module(f"norm{norm}", nn.BatchNorm1d(out, eps=BATCH_NORM_EPS))
            self.add_module(f"act{norm}", layers.signed(f"act{norm}"))
            features = out
        last = len(HIDDEN) + 1
        fc, norm_layer = layers.classifier(f"fc{last}", features, num_classes)
        self.add_module(f"fc{last}", fc)
        self.add_module(f"norm{len(CONVOLUTIONS) + last}", norm_layer)

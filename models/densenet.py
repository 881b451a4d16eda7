"""DenseNet40 with growth 12 (Huang et al., arXiv 1608.06993), in float: ASLR's paper trains it."""

import torch
from torch import Tensor, nn

from qtrain.models.factory import Layers, scaled
from qtrain.models.network import Network

GROWTH = 12
FIRST = 16
BLOCKS = 3
LAYERS_OF_BLOCK = 12


class DenseLayer(nn.Module):
    """Norm, ReLU and 3x3 convolution; its output is appended to its input's channels."""

    def __init__(self, layers: Layers, path: str, inputs: int, growth: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.act = layers.relu(f"{path}.act")
        self.conv = layers.conv(f"{path}.conv", inputs, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, inputs + growth, H, W]."""
        return torch.cat([x, self.conv(self.act(self.norm(x)))], 1)


class DenseNet(Network):
    """Stem, three dense blocks of twelve layers with transitions between them, global average pool, classifier.

    Args as `qtrain.models.resnet.ResNet`'s.
    """

    def __init__(self, layers: Layers, *, num_classes: int, in_channels: int, image_size: int, width: float):
        super().__init__()
        growth = max(1, round(GROWTH * width))
        features = scaled(FIRST, width)
        self.conv1 = layers.conv("conv1", in_channels, features, 3, padding=1, role="first")
        for i in range(1, BLOCKS + 1):
            block = nn.Sequential()
            for j in range(1, LAYERS_OF_BLOCK + 1):
                block.add_module(f"layer{j}", DenseLayer(layers, f"block{i}.layer{j}", features, growth))
                features += growth
            self.add_module(f"block{i}", block)
            self.add_module(f"norm{i}", nn.BatchNorm2d(features))
            self.add_module(f"act{i}", layers.relu(f"act{i}"))
            if i < BLOCKS:
                self.add_module(f"conv{i + 1}", layers.conv(f"conv{i + 1}", features, features, 1))
                self.add_module(f"pool{i}", nn.AvgPool2d(2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc, self.norm_out = layers.classifier("fc", features, num_classes)

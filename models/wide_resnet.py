"""WRN20: the wide residual network with 20 weight layers of McDonnell (arXiv 1802.08530), in two forms.

`PaperWideResNet` is the paper's: its shortcuts average-pool with stride 2 and append zero channels, activations are
added in float, the norms learn neither scale nor offset, and the classes come from a 1x1 convolution, a norm and a
global average pool. FINN takes none of the first three in hardware.

`WideResNet` is FINN-safe and differs so: an addition has ONE signed quantizer for both branches, after a norm that
FINN folds into its thresholds; where the shape changes the shortcut is a 1x1 convolution with stride 2; the norms
learn; the global average pool comes before the last layer, which is fully connected, so that the pool sees small
integers.
"""

from math import sqrt

import torch
from torch import Tensor, nn

from qtrain.models.factory import Layers, scaled
from qtrain.models.network import Network

CHANNELS = (16, 32, 64)  # times the width: 160, 320, 640 for WRN-20-10
UNITS = 3  # of each stage


class Unit(nn.Module):
    """Pre-activation residual unit: twice norm, activation and 3x3 convolution, then norm and addition.

    Args:
        layers: makes them.
        path: of the unit in the network.
        inputs: channels that come in.
        outputs: channels that go out.
        stride: of the first convolution, and of the shortcut.
        deviation: of what comes in, at the start: each addition raises the variance by 1.
    """

    def __init__(self, layers: Layers, path: str, inputs: int, outputs: int, stride: int, deviation: float):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.act1 = layers.relu(f"{path}.act1")
        self.conv1 = layers.conv(f"{path}.conv1", inputs, outputs, 3, stride=stride, padding=1)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.act2 = layers.relu(f"{path}.act2")
        self.conv2 = layers.conv(f"{path}.conv2", outputs, outputs, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.add_module("conv", layers.conv(f"{path}.shortcut.conv", inputs, outputs, 1, stride=stride))
            self.shortcut.add_module("norm", nn.BatchNorm2d(outputs))
        self.sum = layers.sum(f"{path}.sum", deviation)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        y = self.act1(self.norm1(x))
        skip = self.shortcut(y) if len(self.shortcut) else x
        y = self.conv2(self.act2(self.norm2(self.conv1(y))))
        return self.sum(self.norm3(y)) + self.sum(skip)


class WideResNet(Network):
    """Stem, three stages of three units, global average pool, one fully connected layer; FINN-safe.

    Children are named ``input, conv1, norm1, sum1, stage1.unit1.norm1, ..., norm2, act2, pool, flatten, fc, norm_out``.

    Args:
        layers: makes them.
        num_classes: logits an image.
        in_channels: image channels.
        image_size: height and width; the global pool takes any.
        width: of WRN-20-width: 1, 4 and 10 are usual.
    """

    def __init__(self, layers: Layers, *, num_classes: int, in_channels: int, image_size: int, width: float):
        super().__init__()
        features = scaled(CHANNELS[0], width)
        self.input = layers.input()
        self.conv1 = layers.conv("conv1", in_channels, features, 3, padding=1, role="first")
        self.norm1 = nn.BatchNorm2d(features)
        self.sum1 = layers.sum("sum1")
        terms = 1
        for i, channels in enumerate(CHANNELS, 1):
            stage = nn.Sequential()
            for j in range(1, UNITS + 1):
                out = scaled(channels, width)
                stride = 2 if i > 1 and j == 1 else 1
                terms = 1 if out != features or stride != 1 else terms  # a norm in the shortcut starts anew
                unit = Unit(layers, f"stage{i}.unit{j}", features, out, stride, sqrt(terms))
                stage.add_module(f"unit{j}", unit)
                features = out
                terms = terms + 1
            self.add_module(f"stage{i}", stage)
        self.norm2 = nn.BatchNorm2d(features)
        self.act2 = layers.relu("act2")
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc, self.norm_out = layers.classifier("fc", features, num_classes)


class PaperUnit(nn.Module):
    """The paper's unit: average pool and zero channels where the shape changes, additions as they come."""

    def __init__(self, layers: Layers, path: str, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.missing = outputs - inputs
        self.norm1 = nn.BatchNorm2d(inputs, affine=False)
        self.act1 = layers.relu(f"{path}.act1")
        self.conv1 = layers.conv(f"{path}.conv1", inputs, outputs, 3, stride=stride, padding=1)
        self.norm2 = nn.BatchNorm2d(outputs, affine=False)
        self.act2 = layers.relu(f"{path}.act2")
        self.conv2 = layers.conv(f"{path}.conv2", outputs, outputs, 3, padding=1)
        self.pool = nn.AvgPool2d(3, stride, 1) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        y = self.conv2(self.act2(self.norm2(self.conv1(self.act1(self.norm1(x))))))
        skip = self.pool(x)
        if self.missing:  # appended, not padded: the exporter loses the channel count behind a pad
            skip = torch.cat([skip, torch.zeros_like(skip[:, : self.missing])], 1)
        return y + skip


class PaperWideResNet(Network):
    """The paper's network: 26.74 M weights at width 10 with ten classes.

    Args as `WideResNet`; ``WRN20_PAPER_1W32A`` has the paper's bits, activations in float.
    """

    def __init__(self, layers: Layers, *, num_classes: int, in_channels: int, image_size: int, width: float):
        super().__init__()
        features = scaled(CHANNELS[0], width)
        self.input = layers.input()
        self.conv1 = layers.conv("conv1", in_channels, features, 3, padding=1, role="first")
        for i, channels in enumerate(CHANNELS, 1):
            stage = nn.Sequential()
            for j in range(1, UNITS + 1):
                out = scaled(channels, width)
                stride = 2 if i > 1 and j == 1 else 1
                stage.add_module(f"unit{j}", PaperUnit(layers, f"stage{i}.unit{j}", features, out, stride))
                features = out
            self.add_module(f"stage{i}", stage)
        self.norm2 = nn.BatchNorm2d(features, affine=False)
        self.act2 = layers.relu("act2")
        self.conv2 = layers.conv("conv2", features, num_classes, 1, role="last")
        self.norm_out = nn.BatchNorm2d(num_classes, affine=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()

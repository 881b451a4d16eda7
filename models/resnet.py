"""Post-activation residual networks (He et al., arXiv 1512.03385) for CIFAR and ImageNet.

In float they are the paper's, with a 1x1 convolution where a shortcut changes shape (its option B). Quantized, each
addition has ONE signed quantizer for both branches: FINN adds integers and wants them of one scale.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from qtrain.models.factory import Layers, scaled
from qtrain.models.network import Network

Stem = Literal["cifar", "imagenet"]


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3 and 1x1 with four times the channels at the end; then the addition.

    Args:
        layers: makes them.
        path: of the block in the network.
        inputs: channels that come in.
        channels: of the inner convolutions.
        stride: of the first 3x3 convolution, and of the shortcut.
        bottleneck: the form with 1x1 convolutions.
    """

    def __init__(self, layers: Layers, path: str, inputs: int, channels: int, stride: int, *, bottleneck: bool = False):
        super().__init__()
        self.out_channels = 4 * channels if bottleneck else channels
        kernels = ((1, channels, 1), (3, channels, stride), (1, self.out_channels, 1))
        if not bottleneck:
            kernels = ((3, channels, stride), (3, channels, 1), ())[:2]  # type: ignore[assignment]
        features = inputs
        self.depth = len(kernels)
        for i, (kernel, out, step) in enumerate(kernels, 1):
            conv = layers.conv(f"{path}.conv{i}", features, out, kernel, stride=step, padding=kernel // 2)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"norm{i}", nn.BatchNorm2d(out))
            if i < self.depth:
                self.add_module(f"act{i}", layers.relu(f"{path}.act{i}"))
            features = out
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != self.out_channels:
            conv = layers.conv(f"{path}.shortcut.conv", inputs, self.out_channels, 1, stride=stride)
            self.shortcut.add_module("conv", conv)
            self.shortcut.add_module("norm", nn.BatchNorm2d(self.out_channels))
        self.sum = layers.sum(f"{path}.sum")
        self.add_module(f"act{self.depth}", layers.relu(f"{path}.act{self.depth}"))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, out_channels, H / stride, W / stride]."""
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(y))
            if i < self.depth:
                y = getattr(self, f"act{i}")(y)
        return getattr(self, f"act{self.depth}")(self.sum(y) + self.sum(self.shortcut(x)))


class ResNet(Network):
    """Stem, stages of blocks, global average pool, one fully connected layer.

    Children are named ``input, conv1, norm1, act1, stage1.block1.conv1, ..., pool, flatten, fc, norm_out``.

    Args:
        layers: makes them.
        blocks: how many blocks each stage has.
        channels: of each stage.
        stem: "cifar" 3x3; "imagenet" 7x7 with stride 2 and a 3x3 max-pool with stride 2.
        bottleneck: form of the blocks.
        num_classes: logits an image.
        in_channels: image channels.
        image_size: height and width; the global pool takes any.
        width: multiplies all channel counts.
    """

    def __init__(
        self,
        layers: Layers,
        *,
        blocks: Sequence[int],
        channels: Sequence[int],
        stem: Stem = "cifar",
        bottleneck: bool = False,
        num_classes: int,
        in_channels: int,
        image_size: int,
        width: float,
    ):
        super().__init__()
        features = scaled(channels[0], width)
        kernel, stride = (3, 1) if stem == "cifar" else (7, 2)
        self.input = layers.input()
        self.conv1 = layers.conv(
            "conv1", in_channels, features, kernel, stride=stride, padding=kernel // 2, role="first"
        )
        self.norm1 = nn.BatchNorm2d(features)
        self.act1 = layers.relu("act1")
        if stem == "imagenet":
            self.pool1 = nn.MaxPool2d(3, 2, 1)
        for i, (count, planes) in enumerate(zip(blocks, channels, strict=True), 1):
            stage = nn.Sequential()
            for j in range(1, count + 1):
                step = 2 if i > 1 and j == 1 else 1
                path = f"stage{i}.block{j}"
                block = Block(layers, path, features, scaled(planes, width), step, bottleneck=bottleneck)
                stage.add_module(f"block{j}", block)
                features = block.out_channels
            self.add_module(f"stage{i}", stage)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc, self.norm_out = layers.classifier("fc", features, num_classes)

"""VGG (Simonyan and Zisserman, arXiv 1409.1556) with batch normalisation, for CIFAR and ImageNet."""

from torch import nn

from qtrain.models.factory import Layers, scaled
from qtrain.models.network import Network


class VGG(Network):
    """Padded 3x3 convolutions with 2x2 max-pools, then fully connected layers on the flattened features.

    Children are named ``input, conv1, norm1, act1, pool1, ..., flatten, fc1, ...``. The convolutions have no bias,
    as a norm follows each.

    Args:
        layers: makes them.
        stages: channels of each convolution, "M" for a max-pool.
        hidden: features of the fully connected layers before the last one; CIFAR's VGG11 has none.
        num_classes: logits an image.
        in_channels: image channels.
        image_size: height and width, a multiple of 2 for each pool.
        width: multiplies all channel and feature counts.
    """

    def __init__(
        self,
        layers: Layers,
        *,
        stages: tuple[int | str, ...],
        hidden: tuple[int, ...] = (),
        num_classes: int,
        in_channels: int,
        image_size: int,
        width: float,
    ):
        super().__init__()
        self.add_module("input", layers.input())
        size = image_size
        features = in_channels
        conv = 0
        pool = 0
        for stage in stages:
            if isinstance(stage, str):
                pool = pool + 1
                size = size // 2
                self.add_module(f"pool{pool}", nn.MaxPool2d(2))
                continue
            conv, out, role = conv + 1, scaled(stage, width), "inner" if conv else "first"
            self.add_module(f"conv{conv}", layers.conv(f"conv{conv}", features, out, 3, padding=1, role=role))  # type: ignore[arg-type]
            self.add_module(f"norm{conv}", nn.BatchNorm2d(out))
            self.add_module(f"act{conv}", layers.relu(f"act{conv}"))
            features = out
        self.add_module("flatten", nn.Flatten())
        features *= size**2
        for i, count in enumerate(hidden, 1):
            out = scaled(count, width)
            self.add_module(f"fc{i}", layers.linear(f"fc{i}", features, out))
            self.add_module(f"norm{conv + i}", nn.BatchNorm1d(out))
            self.add_module(f"act{conv + i}", layers.relu(f"act{conv + i}"))
            features = out
        self.fc, self.norm_out = layers.classifier("fc", features, num_classes)

"""Fully connected networks for rows of features, and those of FINN's two examples on such data."""

from torch import nn

from qtrain.models.factory import Layers, scaled
from qtrain.models.network import Network


class MLP(Network):
    """Hidden layers with a norm, a ReLU and dropout, and one more layer for the classes.

    Children are named ``flatten, input, fc1, norm1, act1, drop1, ..., fc4, norm4``. Rows [N, F] come as [N, F, 1, 1];
    images of any height and width are taken as rows of their pixels.

    What differs from the published networks so that FINN takes the whole network: no layer has a bias (a norm follows
    each hidden one; the float twin keeps the last one's), and of two classes there are two logits, because TopK over
    one has nothing to choose from. Dropout stands behind the activation in both, and not behind the input.

    Args:
        layers: makes them.
        hidden: features of the hidden layers, at width 1.
        dropout: share of the hidden features that training drops.
        num_classes: logits a row.
        in_channels: features of a row, or channels of an image.
        image_size: height and width, (1, 1) for rows.
        width: multiplies the hidden features.
    """

    def __init__(
        self,
        layers: Layers,
        *,
        hidden: tuple[int, ...],
        dropout: float,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
        width: float,
    ):
        super().__init__()
        height, columns = image_size
        features = in_channels * height * columns
        self.add_module("flatten", nn.Flatten())
        self.add_module("input", layers.input())
        for i, count in enumerate(hidden, 1):
            out = scaled(count, width)
            self.add_module(f"fc{i}", layers.linear(f"fc{i}", features, out, role="first" if i == 1 else "inner"))
            self.add_module(f"norm{i}", nn.BatchNorm1d(out))
            self.add_module(f"act{i}", layers.relu(f"act{i}"))
            self.add_module(f"drop{i}", nn.Dropout(dropout))
            features = out
        last = len(hidden) + 1
        fc, norm = layers.classifier(f"fc{last}", features, num_classes)
        self.add_module(f"fc{last}", fc)
        self.add_module(f"norm{last}", norm)

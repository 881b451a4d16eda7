"""Networks and data of a user's own, written as files where a test works."""

from pathlib import Path

import numpy as np
from PIL import Image

NET = '''
import brevitas.nn as qnn
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from torch import nn


class Net(nn.Module):
    """One convolution and one linear layer, at any bits from 2 to 8."""

    def __init__(self, weight_bits=4, act_bits=4, num_classes=10, in_channels=3, image_size=32, channels_out=8):
        super().__init__()
        weights = {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": weight_bits, "bias": False}
        self.inp = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=8)
        self.conv = qnn.QuantConv2d(in_channels, channels_out, 3, padding=1, **weights)
        self.bn = nn.BatchNorm2d(channels_out)
        self.act = qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=act_bits)
        self.pool = nn.MaxPool2d(4)
        self.flat = nn.Flatten()
        self.fc = qnn.QuantLinear(channels_out * (image_size // 4) ** 2, num_classes, **weights)

    def forward(self, x):
        return self.fc(self.flat(self.pool(self.act(self.bn(self.conv(self.inp(2 * x - 1)))))))


class OneWidth(Net):
    def __init__(self, bits, num_classes, in_channels, image_size):
        super().__init__(bits, bits, num_classes, in_channels, image_size)


def small(num_classes, image_size, in_channels):
    return Net(num_classes=num_classes, image_size=image_size, in_channels=in_channels)


class Rows(nn.Module):
    """A multilayer perceptron for rows of features."""

    def __init__(self, weight_bits=4, act_bits=4, num_classes=2, channels=8):
        super().__init__()
        weights = {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": weight_bits, "bias": False}
        self.flat = nn.Flatten()
        self.inp = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=8)
        self.fc1 = qnn.QuantLinear(channels, 16, **weights)
        self.bn = nn.BatchNorm1d(16)
        self.act = qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=act_bits)
        self.fc2 = qnn.QuantLinear(16, num_classes, **weights)

    def forward(self, x):
        return self.fc2(self.act(self.bn(self.fc1(self.inp(self.flat(2 * x - 1))))))
'''
SHAPES = ("circle", "cross", "disc", "square", "stripes")


def write_net(folder: Path) -> Path:
    """Write ``own_net.py`` and return its path."""
    path = folder / "own_net.py"
    path.write_text(NET)
    return path


def write_shapes(root: Path, *, count: int = 24, size: int = 40, parts: tuple[str, ...] = ("train",)) -> Path:
    """Write a tree of five classes of shapes, PNGs of ``size`` x ``size`` pixels; return its root."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    for part in parts:
        for name in SHAPES:
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                row, column = rng.integers(size // 3, size - size // 3, 2)
                radius = rng.integers(size // 6, size // 3)
                distance = np.hypot(y - row, x - column)
                inside = {
                    "circle": abs(distance - radius) < 2,
                    "cross": (abs(y - row) < 2) | (abs(x - column) < 2),
                    "disc": distance < radius,
                    "square": (abs(y - row) < radius) & (abs(x - column) < radius),
                    "stripes": (y // 4) % 2 == 0,
                }[name]
                colours = np.where(inside[..., None], rng.integers(150, 236, 3), rng.integers(20, 100, 3))
                pixels = colours + rng.integers(-20, 20, (size, size, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return root


def write_rows(path: Path, *, count: int = 300, features: int = 8) -> Path:
    """Write an npz file of rows in [-1, 1] with two classes that a plane parts; return its path."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (count, features)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] - x[:, 2] > 0).astype(np.int64)
    held = count // 5
    np.savez(path, x_train=x[held:], y_train=y[held:], x_test=x[:held], y_test=y[:held])
    return path

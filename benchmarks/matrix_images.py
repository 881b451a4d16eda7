"""What the matrix's networks are proven on: the embedded digits in any shape, and modulated signals.

Digits become images of any size, or rows of features: a digit of as many grey pixels, row after row. What digits
cannot stand for is a signal of two channels over time. ``signals`` makes some that carry random symbols in ten of
RadioML's 24 modulations, with a random phase and white noise: telling enough to move a network's norms and ranges and
to spread its answers over classes, no data set to train on.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from qtrain.data import load_data

Shape = tuple[int, int, int]
TRAINED, TESTED = 1000, 360  # signals
SAMPLES = 8  # of a signal in each symbol
LARGEST = 2.0  # amplitude that the largest pixel stands for, as in the published network
# RadioML 2018's numbers of these modulations.
CLASSES = {
    "OOK": 0,
    "4ASK": 1,
    "8ASK": 2,
    "BPSK": 3,
    "QPSK": 4,
    "8PSK": 5,
    "16PSK": 6,
    "16QAM": 12,
    "64QAM": 14,
    "FM": 21,
}


def images_of(shape: Shape, classes: int, count: int | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return uint8 images [N, *shape] with labels below ``classes``, to train with and to test with.

    Args:
        shape: of one image, (C, H, W).
        classes: of the network; digits beyond the last one count from 0 again.
        count: of images to test with, None for all.
    """
    if shape[0] == 2:
        made = signals(TRAINED + TESTED, shape)
        images, labels = made[0], made[1] % classes
        wanted = TESTED if count is None else count
        return images[:TRAINED], labels[:TRAINED], images[TRAINED:][:wanted], labels[TRAINED:][:wanted]
    data = load_data("digits")
    test = data.test.take(count or len(data.test))
    labels = data.train.labels % classes
    return _digits(data.train.images, shape), labels, _digits(test.images, shape), test.labels % classes


def _digits(images: Tensor, shape: Shape) -> Tensor:
    """Return digits [N, 3, 32, 32] in another shape: scaled, or rows of as many grey pixels as there are channels."""
    channels, height, width = shape
    if channels == images.shape[1]:
        return _scaled(images, (height, width))
    grey = images.float().mean(1, keepdim=True)
    return _scaled(grey, _sides(channels * height * width)).reshape(-1, *shape)


def _scaled(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images.float(), size=size, mode="bilinear").round().to(torch.uint8)


def _sides(pixels: int) -> tuple[int, int]:
    """Return height and width of the image of so many pixels that is closest to a square."""
    height = next(side for side in range(math.isqrt(pixels), 0, -1) if pixels % side == 0)
    return height, pixels // height


def signals(count: int, shape: Shape, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return uint8 signals [count, 2, L, 1], I and Q, with RadioML's number of each one's modulation."""
    draw = np.random.default_rng(seed)
    length = shape[1]
    names = list(CLASSES)
    chosen = draw.integers(len(names), size=count)
    waves = np.stack([_wave(names[number], length, draw) for number in chosen])
    turned = waves * np.exp(2j * np.pi * draw.random((count, 1)))
    deviation = 10 ** (-draw.uniform(0, 30, (count, 1)) / 20)  # 0 to 30 dB
    noise = draw.normal(size=(count, length, 2)) @ np.array([1, 1j])
    noisy = turned + deviation * noise / math.sqrt(2)
    both = np.stack([noisy.real, noisy.imag], axis=1)[..., None]
    pixels = np.clip(np.round((both / LARGEST + 1) * 127.5), 0, 255).astype(np.uint8)
    labels = np.array([CLASSES[names[number]] for number in chosen])
    return torch.from_numpy(pixels), torch.from_numpy(labels)


def _wave(name: str, length: int, draw: np.random.Generator) -> np.ndarray:
    """Return a complex signal of mean power 1 without noise."""
    symbols = -(-length // SAMPLES)
    if name == "FM":
        message = np.repeat(draw.uniform(-1, 1, symbols), SAMPLES)[:length]
        return np.exp(1j * np.cumsum(message))
    points = _constellation(name)
    points = points / np.sqrt(np.mean(np.abs(points) ** 2))
    return np.repeat(draw.choice(points, symbols), SAMPLES)[:length]


def _constellation(name: str) -> np.ndarray:
    """Return the points that a modulation has for its symbols."""
    if name == "OOK":
        return np.array([0, 1], complex)
    kind = name.lstrip("0123456789")
    order = {"BPSK": 2, "QPSK": 4}.get(name) or int(name.removesuffix(kind))
    if name.endswith("PSK"):
        return np.exp(2j * np.pi * np.arange(order) / order)
    if kind == "ASK":
        return np.arange(1, order + 1).astype(complex)
    side = np.arange(math.isqrt(order)) * 2 - math.isqrt(order) + 1
    return (side[:, None] + 1j * side[None, :]).ravel()

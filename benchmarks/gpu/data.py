"""Images for the checks: CIFAR-shaped, random, and learnable."""

from __future__ import annotations

import torch

from qtrain.data import DataSet, Split

CLASSES = 10


def images(count: int, size: int = 32, seed: int = 0) -> Split:
    """Return images that can be learned: each class has a mean colour of its own."""
    drawn = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    means = torch.rand(CLASSES, 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 255
    pixels = (means[labels] + 60 * torch.randn(count, 3, size, size, generator=drawn)).clamp(0, 255)
    return Split(pixels.to(torch.uint8), labels)


def data_set(count: int, size: int = 32, held_out: int = 40) -> DataSet:
    """Return ``count`` training images and a few to judge by."""
    few = images(held_out, size, seed=1)
    return DataSet("cifar10", CLASSES, tuple(map(str, range(CLASSES))), "holdout", True, images(count, size), few, few)

"""A small network that lint and export take, which others differ from in one thing; how they are looked at."""

from pathlib import Path

import torch
from torch import Tensor, nn

from qtrain.export import Proof, export_finn
from qtrain.export.lint.check import Finding, lint_module
from tests.export.lint.probe_builds import moved
from tests.export.lint.probe_networks import conv, identity, linear, norm, relu

SHAPE = (3, 8, 8)


class Small(nn.Module):
    """Two convolutions and a linear layer that lint and export take; the cases differ from it in one thing."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.inp = identity(8)
        self.conv1 = conv(3, 8)
        self.norm1 = norm()
        self.act1 = relu()
        self.conv2 = conv(8, 8)
        self.norm2 = norm()
        self.act2 = relu()
        self.pool = nn.MaxPool2d(2)
        self.fc = linear(128, classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(self.conv1(self.inp(x))))
        return torch.flatten(self.pool(self.act2(self.norm2(self.conv2(x)))), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


def settled(network: nn.Module) -> nn.Module:
    """The network after a few passes in training mode: norms and scales hold numbers as after training."""
    torch.manual_seed(0)
    return moved(network.train(), SHAPE, batches=2)


def images(count: int = 12) -> tuple[Tensor, Tensor]:
    """Random pixels with labels of all ten classes."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return pixels, torch.arange(count) % 10


def exported(network: nn.Module, folder: Path, labels: Tensor | None = None) -> Proof:
    pixels, own = images()
    return export_finn(network, folder / "finn", pixels=pixels, labels=own if labels is None else labels)


def found(network: nn.Module) -> list[Finding]:
    """Lint's errors and warnings."""
    return [finding for finding in lint_module(network, SHAPE) if finding.severity != "note"]

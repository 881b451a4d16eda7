"""Networks of one's own that put a captured step to the test, in each of the ways in which Python decides a step."""

from __future__ import annotations

from collections.abc import Callable

import brevitas.nn as qnn
import torch
from torch import Tensor, nn

from benchmarks.gpu.data import CLASSES

CHANNELS = 8


class Own(nn.Module):
    """A small Brevitas network whose middle is the check's."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.first = qnn.QuantConv2d(3, CHANNELS, 3, bias=False, weight_bit_width=4)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.middle = middle
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = qnn.QuantLinear(CHANNELS, CLASSES, bias=True, weight_bit_width=4)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.last(self.pool(self.middle(self.norm(self.first(images)))).flatten(1))


class Collecting(nn.Module):
    """A quantizer as Brevitas makes it, which collects statistics of activations for its first steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.act = qnn.QuantReLU(bit_width=4)
        for module in self.modules():
            if hasattr(module, "collect_stats_steps"):
                module.collect_stats_steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return self.act(x)


class Annealed(nn.Module):
    """A temperature in Python that falls with every step."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        if self.training:
            self.temperature *= 0.9
        return x * self.temperature


class Reads(nn.Module):
    """Looks at the device's numbers to decide."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x * 2 if float(x.detach().mean()) > 0 else x


class ReadsInCapture(nn.Module):
    """Reads within a capture alone, which nothing shows before."""

    def __init__(self, is_capturing: Callable[[], bool]) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)
        self.__dict__["is_capturing"] = is_capturing  # no value of the module, which a step could move

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        if self.is_capturing():
            x.detach().sum().item()
        return self.dropout(x)


def own(middle: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Return what builds the network, with the same weights each time."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        return Own(middle())

    return make

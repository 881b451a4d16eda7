"""Networks with other weights than fresh ones, and where brevitas keeps those of bnn_pynq."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F


def pynq_module(name: str) -> Any:
    return pytest.importorskip(f"brevitas_examples.bnn_pynq.models.{name}", reason="brevitas ships no examples")


def steps(model: nn.Module, shape: tuple[int, ...], count: int = 2, lr: float = 0.01) -> nn.Module:
    """Train on noise, then let no norm have the statistics or the scale of a fresh one."""
    optimizer = torch.optim.SGD(model.parameters(), lr)
    for _ in range(count):
        loss = F.cross_entropy(model(torch.rand(shape)), torch.arange(shape[0]) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "running_var", None) is not None:
                for name, low, high in (("running_mean", 0.8, 1.2), ("running_var", 0.5, 1.5), ("weight", 0.5, 1.5)):
                    tensor = getattr(module, name)
                    tensor.mul_(torch.empty_like(tensor).uniform_(low, high))
                module.bias.add_(0.2 * torch.randn_like(module.bias))
    return model


def logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(images)

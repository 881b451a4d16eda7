"""Problems with known minima for the line searches, and the searches written out plainly, one parameter at a time."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from sklearn import datasets
from torch import Tensor, nn

Closure = Callable[..., Tensor]


class Quadratic(nn.Module):
    """1/2 sum of h * (x - target)^2 in float64, in two parameters; the minimum is ``floor``."""

    def __init__(self, condition: float, floor: float = 0.0):
        super().__init__()
        self.curvatures = torch.logspace(0, math.log10(condition), 6, dtype=torch.float64) / condition
        self.target = torch.linspace(-1, 2, 6, dtype=torch.float64)
        self.first = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.second = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
        self.floor = floor

    def forward(self) -> Tensor:
        x = torch.cat([self.first, self.second.flatten()])
        return (self.curvatures * (x - self.target).square()).sum() / 2 + self.floor

    def minimum(self) -> float:
        return self.floor


class LogisticRegression(nn.Module):
    """Cross entropy of all of scikit-learn's digits with a ridge term, in float64."""

    def __init__(self) -> None:
        super().__init__()
        digits = datasets.load_digits()
        self.images = torch.from_numpy(digits.data) / 16
        self.labels = torch.from_numpy(digits.target).long()
        self.linear = nn.Linear(64, 10, dtype=torch.float64)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self) -> Tensor:
        loss = nn.functional.cross_entropy(self.linear(self.images), self.labels)
        return loss + 5e-3 * self.linear.weight.square().sum()

    def minimum(self) -> float:
        other = LogisticRegression()
        search = torch.optim.LBFGS(other.parameters(), max_iter=300, line_search_fn="strong_wolfe", tolerance_change=0)
        search.step(closure_of(other, search))
        return other().item()


def closure_of(problem: nn.Module, optimizer: torch.optim.Optimizer) -> Closure:
    """The closure the training loop makes, of a problem that returns its loss."""

    def closure(backward: bool = True) -> Tensor:
        loss = problem()
        if backward:
            optimizer.zero_grad()
            loss.backward()
        return loss

    return closure


@dataclass
class PlainL4:
    """L4 as recipes.md writes it, one parameter after the other."""

    parameters: list[nn.Parameter]
    adam: bool
    weight_decay: float = 0.0
    lowest: float | None = None
    updates: int = 0
    means: dict[int, Tensor] = field(default_factory=dict)
    squares: dict[int, Tensor] = field(default_factory=dict)

    def step(self, closure: Closure) -> float:
        loss = closure().item()
        self.updates += 1
        self.lowest = 0.75 * loss if self.lowest is None else min(self.lowest, loss)
        slope, directions = 0.0, []
        for i, parameter in enumerate(self.parameters):
            gradient = parameter.grad
            assert gradient is not None
            self.means[i] = 0.9 * self.means.get(i, torch.zeros_like(gradient)) + 0.1 * gradient
            self.squares[i] = 0.999 * self.squares.get(i, torch.zeros_like(gradient)) + 0.001 * gradient**2
            mean = self.means[i] / (1 - 0.9**self.updates)
            square = self.squares[i] / (1 - 0.999**self.updates)
            direction = mean / (square.sqrt() + 1e-4) if self.adam else mean
            slope += float((direction * mean).sum())
            directions.append(direction)
        size = 0.15 * (loss - 0.9 * self.lowest) / (slope + 1e-12)
        for parameter, direction in zip(self.parameters, directions, strict=True):
            parameter.data = parameter.data * (1 - size * self.weight_decay) - size * direction
        self.lowest *= 1 + 1 / 1000
        return size


@dataclass
class PlainArmijo:
    """SGD_Armijo as recipes.md writes it, one parameter after the other."""

    parameters: list[nn.Parameter]
    steps_per_epoch: int
    size: float = 1.0
    trials: int = 0

    def step(self, closure: Closure) -> float:
        loss = closure().item()
        gradients = [parameter.grad.clone() for parameter in self.parameters if parameter.grad is not None]
        start = [parameter.data.clone() for parameter in self.parameters]
        slope = sum(float((gradient**2).sum()) for gradient in gradients)
        self.size *= 2 ** (1 / self.steps_per_epoch)
        while True:
            for parameter, old, gradient in zip(self.parameters, start, gradients, strict=True):
                parameter.data = old - self.size * gradient
            self.trials += 1
            with torch.no_grad():
                trial = closure(backward=False).item()
            if trial <= loss - 0.1 * self.size * slope:
                return self.size
            self.size *= 0.9

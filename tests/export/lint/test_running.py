"""Networks whose answer to an image is not the image's alone: drawn, counted, or mixed with others of its batch."""

import errno
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qtrain.errors import UserError
from qtrain.export.lint.check import lint_module
from qtrain.export.lint.finding import WHOLE
from tests.export.small import SHAPE, Small, exported, found, settled


class Changed(Small):
    """The small network with something between its features and its last layer."""

    def __init__(self, change: Callable[[nn.Module, Tensor], Tensor]):
        super().__init__()
        self.calls = 0
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.change(self, self.features(x)))


def counting(network: nn.Module, x: Tensor) -> Tensor:
    network.calls += 1
    return x * (1 + network.calls % 2)


def normalised(_: nn.Module, x: Tensor) -> Tensor:
    return F.batch_norm(x.reshape(len(x), 8, 4, 4), None, None, training=True).flatten(1)


def in_train_mode() -> nn.Module:
    network = Small()
    network.pool = nn.Sequential(network.pool, nn.Dropout2d(0.3))
    network.pool.train = lambda mode=True: network.pool  # as Monte Carlo dropout keeps it
    return settled(network)


def without_statistics() -> nn.Module:
    network = Small()
    network.norm1 = nn.BatchNorm2d(8, track_running_stats=False)
    return settled(network)


def alone(network: nn.Module) -> nn.Module:
    """A network that flattens as if there were one image always."""
    network.features = lambda x: network.pool(network.act1(network.norm1(network.conv1(network.inp(x))))).view(1, -1)
    return network


CHANGING = {
    "F.dropout": (lambda: settled(Changed(lambda _, x: F.dropout(x, 0.5))), "random", WHOLE),
    "noise": (lambda: settled(Changed(lambda _, x: x + torch.randn_like(x))), "random", WHOLE),
    "numpy": (lambda: settled(Changed(lambda _, x: x * float(np.random.rand()))), "random", WHOLE),
    "random": (lambda: settled(Changed(lambda _, x: x * random.random())), "random", WHOLE),
    "clock": (lambda: settled(Changed(lambda _, x: x * (1 + time.monotonic_ns() % 9))), "moving-state", WHOLE),
    "counter": (lambda: settled(Changed(counting)), "moving-state", WHOLE),
    "train mode": (in_train_mode, "random", "pool.1"),
    "no statistics": (without_statistics, "batch-statistics", "norm1"),
    "batch size": (lambda: settled(Changed(lambda _, x: x / x.shape[0])), "across-images", WHOLE),
    "neighbour": (lambda: settled(Changed(lambda _, x: x - 0.1 * x[-1:])), "across-images", WHOLE),
    "batch average": (lambda: settled(Changed(lambda _, x: x - x.mean(0))), "across-images", WHOLE),
    "one image": (lambda: alone(settled(Small())), "one-image", WHOLE),
    "F.batch_norm": (
        lambda: settled(Changed(normalised)),
        "batch-statistics",
        WHOLE,
    ),
}


@pytest.mark.parametrize("kind", CHANGING)
def test_answers_that_are_not_the_images_alone_are_named(kind: str, tmp_path: Path) -> None:
    make, rule, layer = CHANGING[kind]
    findings = found(make())
    assert (rule, layer) in [(finding.rule, finding.layer) for finding in findings]
    assert findings[0].severity == "error"
    with pytest.raises(UserError, match=rule) as caught:
        exported(make(), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("images", [1, 2])
def test_what_the_machine_lacks_is_not_blamed_on_the_network(images: int) -> None:
    def reading(_: nn.Module, x: Tensor) -> Tensor:
        if len(x) == images:
            raise OSError(errno.EMFILE, "Too many open files")
        return x

    network = settled(Changed(lambda _, x: x))
    network.change = reading
    with pytest.raises(OSError, match="Too many open files"):
        lint_module(network, SHAPE)


@pytest.mark.parametrize("kind", ["F.dropout", "numpy", "random"])
def test_looking_draws_no_random_numbers_of_the_user(kind: str) -> None:
    network = CHANGING[kind][0]()
    first = drawn()
    lint_module(network, SHAPE)
    between = drawn(seeded=False)
    drawn()
    assert between == drawn(seeded=False) != first


def drawn(seeded: bool = True) -> list[float]:
    """The next number of each generator, from its start or from where it is."""
    if seeded:
        torch.manual_seed(5)
        np.random.seed(5)
        random.seed(5)
    return [float(torch.rand(())), float(np.random.rand()), random.random()]

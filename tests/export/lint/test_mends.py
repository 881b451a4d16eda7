"""What lint says of an operator depends on what it is there for, not on its name alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qtrain.errors import UserError
from tests.export.lint.probe_networks import linear
from tests.export.small import Small, found, settled

CHOSEN = "nothing picks or reorders channels or pixels; prepare images before the network, or let a convolution choose"
STATISTICS = "nothing takes means of channels or batches; normalize images by constants, features by nn.BatchNorm2d"


class Prepared(Small):
    """The small network behind something that is done to its images."""

    def __init__(self, prepare: Callable[[Tensor], Tensor]):
        super().__init__()
        self.prepare = prepare

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.prepare(x))


class Finished(Small):
    """The small network in front of something that is done to its logits."""

    def __init__(self, finish: Callable[[Tensor], Tensor]):
        super().__init__()
        self.finish = finish

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(super().forward(x))


class Averaged(Small):
    """The small network with a mean over the image in place of its pool."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = linear(8)

    def features(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(self.conv1(self.inp(x))))
        return self.act2(self.norm2(self.conv2(x))).mean([2, 3])


def mend_of(network: nn.Module, operator: str) -> str:
    """Lint's mend for the first operator of this kind."""
    findings = [finding for finding in found(settled(network)) if finding.layer.startswith(operator)]
    assert findings[0].rule == "operator"
    return findings[0].mend


@pytest.mark.parametrize(
    ("prepare", "operator", "mend"),
    [
        (lambda x: x[:, [2, 1, 0]], "Gather", CHOSEN),
        (lambda x: x.flip(1), "Slice", CHOSEN),
        (lambda x: F.pad(x[:, :, 1:-1, 1:-1], (1, 1, 1, 1)), "Slice", CHOSEN),
        (lambda x: x - x.mean((1, 2, 3), keepdim=True), "ReduceMean", STATISTICS),
        (lambda x: x - x.mean(), "ReduceMean", STATISTICS),
        (lambda x: x - x.mean(1, keepdim=True), "ReduceMean", STATISTICS),
    ],
)
def test_what_is_done_to_images_is_to_be_done_before(prepare: Callable, operator: str, mend: str) -> None:
    assert mend_of(Prepared(prepare), operator) == mend


def test_a_mean_over_the_whole_image_has_hardware_by_another_name() -> None:
    assert "nn.AdaptiveAvgPool2d(1)" in mend_of(Averaged(), "ReduceMean")


@pytest.mark.parametrize("finish", [torch.sigmoid, torch.tanh, torch.exp, F.softplus])
def test_what_changes_no_class_behind_the_logits_is_to_be_left_out(finish: Callable[[Tensor], Tensor]) -> None:
    operator = {"softplus": "Softplus"}.get(finish.__name__, finish.__name__.title())
    assert mend_of(Finished(finish), operator) == f"return the logits: {operator} changes no class"


def test_inside_the_network_the_same_is_an_activation_to_be_quantized() -> None:
    assert "use a brevitas.nn.QuantReLU" in mend_of(Finished(lambda x: torch.sigmoid(x) * 2 - x), "Sigmoid")
    assert "use a brevitas.nn.QuantReLU" in mend_of(Prepared(F.gelu), "Gelu")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_made_on_the_way_and_are_none_are_named(value: float) -> None:
    network = settled(Finished(lambda logits: logits * torch.tensor(value)))
    (only,) = found(network)
    assert (only.rule, only.severity) == ("not-finite", "error")
    assert "1 of 1 values that are NaN or infinite" in only.says
    assert "a division by zero" in only.mend


class Pooled(Averaged):
    """The small network with another pool over the image."""

    def __init__(self, pool: Callable[[Tensor], Tensor]):
        super().__init__()
        self.pool = pool
        self.fc = linear(8 * 9)

    def features(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(self.conv1(self.inp(x))))
        return torch.flatten(self.pool(self.act2(self.norm2(self.conv2(x)))), 1)


@pytest.mark.parametrize(
    ("prepare", "operator"),
    [
        (lambda x: torch.fft.fft2(x).real, "fft_fft2"),
        (lambda x: torch.cummax(x, 1).values, "cummax"),
        (lambda x: torch.rot90(x, 1, (2, 3)), "rot90"),
    ],
)
def test_an_operator_that_torch_cannot_export_is_named_in_the_mend(prepare: Callable, operator: str) -> None:
    (finding,) = [finding for finding in found(settled(Prepared(prepare))) if finding.severity == "error"]
    assert finding.rule == "export"
    assert finding.mend.startswith(f"do without {operator}: ")


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(3), nn.AdaptiveMaxPool2d(3)])
def test_pools_that_torch_cannot_export_are_to_have_a_size_that_divides(pool: nn.Module) -> None:
    (finding,) = [finding for finding in found(settled(Pooled(pool))) if finding.rule == "export"]
    assert "an output size that divides" in finding.mend


def test_what_draws_in_any_mode_is_to_draw_in_training_alone() -> None:
    network = settled(Prepared(lambda x: x + torch.rand_like(x)))
    (finding,) = [finding for finding in found(network) if finding.rule == "random"]
    assert "what draws in any mode goes below `if self.training:`" in finding.mend


def test_a_network_that_leaves_torch_gets_a_line_about_that() -> None:
    network = settled(Prepared(lambda x: torch.from_numpy(x.detach().numpy().copy())))
    with pytest.raises(UserError, match=r"finds nothing in Prepared that reads the image.*without \.numpy"):
        found(network)

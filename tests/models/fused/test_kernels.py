"""The Triton kernels: interpreted, they give the plain forms' numbers."""

import copy
import math
import sys
import warnings
from typing import Any

import pytest
import torch
from brevitas.nn import QuantConv2d, QuantLinear
from torch import Tensor, nn
from torch.nn import functional as F

import qtrain.models.fast_forward as forward
from qtrain.models import build_model
from qtrain.models.fast_forward import fast_forward
from qtrain.models.fused import operators, plain, self_check
from qtrain.models.fused.operators import ROOM
from qtrain.models.fused.plain import Scales, Target
from qtrain.models.fused.self_check import comparisons
from qtrain.models.quantizers import Scales as Kinds
from qtrain.models.quantizers import Scaling, fixed_point_input
from qtrain.triton_kernels import SAID, trusted, use_kernels, why_not
from tests.kernels import MODULES, launches, trusted_cpu

CPU = torch.device("cpu")
INTEGERS = Target(-7, 7, sign=False, clamps=True, relu=False)


def test_interpreted_kernels_agree_with_their_plain_forms(interpreted: None) -> None:
    assert why_not(CPU, comparisons) is None


@pytest.mark.slow
def test_programs_that_take_several_tiles_agree(interpreted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of large batches do, where no more programs than can run share the rows."""
    from qtrain.models.fused import norm_kernels

    monkeypatch.setattr(norm_kernels, "TILE", 64)
    monkeypatch.setattr(norm_kernels, "MOST_PARTS", 3)
    monkeypatch.setattr(self_check, "CASES", self_check.CASES[:1])
    assert why_not(CPU, comparisons) is None


@pytest.mark.parametrize(
    ("module", "function", "what"),
    [
        ("norm_kernels", "norm_quantize", "norm_quantize of"),
        ("norm_kernels", "norm_quantize_backward", "norm_quantize_backward of"),
        ("rounding_kernels", "integers", "integers of"),
        ("rounding_kernels", "integers_gradient", "integers_gradient of"),
    ],
)
def test_a_kernel_that_is_wrong_is_named(
    module: str, function: str, what: str, interpreted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = sys.modules[f"qtrain.models.fused.{module}"]
    right = getattr(kernels, function)

    def wrong(*args: Any) -> Any:
        found = right(*args)
        first = found if isinstance(found, Tensor) else found[0]
        first[0] += 1
        return found

    monkeypatch.setattr(kernels, function, wrong)
    assert str(why_not(CPU, comparisons)).startswith(what)


def test_statistics_that_do_not_move_are_seen(interpreted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from qtrain.models.fused import norm_kernels

    right = norm_kernels.norm_quantize

    def wrong(sums: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, *more: Any) -> Any:
        return right(sums, gamma, beta, mean.clone(), *more)

    monkeypatch.setattr(norm_kernels, "norm_quantize", wrong)
    assert why_not(CPU, comparisons) == "the running statistics differs from its plain form"


def test_without_triton_one_line_says_that_plain_forms_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    reason = str(why_not(CPU, comparisons))
    assert "triton" in reason
    assert "\n" not in reason


def test_a_gpu_that_cannot_run_them_is_asked_once() -> None:
    gpu = torch.device("cuda", 7)
    with pytest.warns(UserWarning, match=SAID):
        use_kernels(ROOM, gpu, comparisons)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        use_kernels(ROOM, gpu, comparisons)
    assert not trusted(ROOM, gpu)


class Small(nn.Module):
    """Two convolutions and a linear layer, with norms and quantizers."""

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        kinds = Kinds(scaling)
        self.input = fixed_point_input(8)
        weights = kinds.weights(4, 0.3, binary_scale=0.3)
        self.conv1 = QuantConv2d(3, 8, 3, bias=False, **weights)
        self.norm1 = nn.BatchNorm2d(8)
        self.act1 = kinds.relu(4)
        self.conv2 = QuantConv2d(8, 8, 3, bias=False, **weights)
        self.norm2 = nn.BatchNorm2d(8)
        self.act2 = kinds.signed(4)
        self.flatten = nn.Flatten()
        self.last = QuantLinear(32, 10, bias=False, **weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(self.conv1(self.input(2 * x - 1))))
        return self.last(self.flatten(self.act2(self.norm2(self.conv2(x)))))


def trained(model: nn.Module, steps: int = 3) -> list[float]:
    """Losses of a few steps."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(steps):
        images = torch.rand(16, 3, 6, 6).to(memory_format=torch.channels_last)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), torch.arange(16) % 10)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_statistics_of_all_layers_are_one_computation(
    interpreted: None, per_channel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "grid_dtypes", lambda *_: (torch.float32, torch.float32))
    torch.manual_seed(0)
    plainly = build_model("CNV_4W4A", width=0.125, scaling="statistics", per_channel=per_channel).train()
    fast_forward(plainly, "fast")
    kernels = copy.deepcopy(plainly)
    images = torch.rand(2, 3, 32, 32)
    wanted = plainly(images)
    with trusted_cpu(), launches() as found:
        ours = kernels(images)
    assert found.kernels["magnitude_kernel"] == 1
    torch.testing.assert_close(ours, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scaling", ["learned", "statistics", "constant"])
def test_a_network_trains_with_them_as_with_the_plain_forms(
    scaling: Scaling, interpreted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "grid_dtypes", lambda *_: (torch.float32, torch.float32))
    torch.manual_seed(0)
    plainly = Small(scaling).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast_forward(plainly, "fast")
    kernels = copy.deepcopy(plainly)
    theirs = trained(plainly)
    with trusted_cpu(), launches() as found:
        ours = trained(kernels)
    apart = 0 if scaling == "statistics" else 3  # layers whose weights are quantized where they are multiplied
    assert found.kernels["gradient_kernel"] == 3 * (2 + apart)  # of each step: two norms, and these
    assert found.kernels["magnitude_kernel"] == (3 if scaling == "statistics" else 0)
    assert ours == pytest.approx(theirs, rel=1e-3)
    for (path, own), other in zip(kernels.state_dict().items(), plainly.state_dict().values(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-2, atol=1e-3, msg=path)


def _operands(rows: int, channels: int) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    sums = torch.randint(-50, 50, (rows, channels)).float()
    return sums, torch.rand(channels), torch.rand(channels), torch.zeros(channels), torch.ones(channels)


def test_passes_and_launches_are_what_counts_of_bytes_rest_on(interpreted: None) -> None:
    """The normalising operators read their inputs twice, the others once; all write once."""
    rows, channels = 600, 16
    sums, gamma, beta, mean, var = _operands(rows, channels)
    scales = Scales(0.1, 0.2, 0.3)
    size, few = sums.numel(), 60 * channels  # few: by channel and program
    with trusted_cpu():
        with launches() as found:
            options = *operators.split_all(scales), 1e-4, 0.1, *INTEGERS, torch.bfloat16, False
            _, statistics = torch.ops.qtrain.norm_quantize(sums, gamma, beta, mean, var, torch.tensor(0), *options)
        reads = operators.READS["norm_quantize"]
        assert reads * size <= found.loaded <= reads * size + few
        assert size <= found.stored <= size + few
        assert found.kernels.total() == operators.LAUNCHES["norm_quantize"]
        with launches() as found:
            options = *operators.split_all(scales), 1e-4, *INTEGERS, torch.bfloat16, True
            given = torch.rand_like(sums), sums, statistics, gamma, beta
            torch.ops.qtrain.norm_quantize_backward(*given, *options)
        reads = operators.READS["norm_quantize_backward"]
        assert 2 * reads * size <= found.loaded <= 2 * reads * size + few  # gradient and sums
        assert size <= found.stored <= size + few
        assert found.kernels.total() + 1 == operators.LAUNCHES["norm_quantize_backward"]  # torch adds the parts
        sums = sums.reshape(8, -1)
        with launches() as found:
            torch.ops.qtrain.integers(sums, None, 0.3, *INTEGERS, torch.bfloat16)
        assert (found.loaded, found.stored, found.kernels.total()) == (size, size, operators.LAUNCHES["integers"])
        with launches() as found:
            torch.ops.qtrain.integers_gradient(sums, sums, None, 0.3, None, 1.0, *INTEGERS, True)
        assert found.loaded == 2 * size
        assert size <= found.stored <= size + len(sums)
        assert found.kernels.total() == operators.LAUNCHES["integers_gradient"]


def test_what_is_not_a_number_stays_so(interpreted: None) -> None:
    """A loss that is not finite ends a run; integers that hide it would not."""
    sums, gamma, beta, mean, var = _operands(40, 8)
    sums[3, 5] = math.nan
    from qtrain.models.fused import norm_kernels

    for form in (plain, norm_kernels):
        moving = mean.clone(), var.clone(), torch.tensor(0)
        scales = Scales(0.1, 0.2, 0.3)
        options = scales, 1e-4, 0.1, INTEGERS, torch.bfloat16, False
        found = form.norm_quantize(sums, gamma, beta, *moving, *options)[0]  # type: ignore[attr-defined]
        assert found[:, 5].isnan().all()
        assert found.isnan().sum() == len(sums)

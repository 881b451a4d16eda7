"""The step beside the model: compiled, on fixed tensors as a CUDA graph needs it, and how much of it there is."""

import copy
import platform
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import qtrain.models.fast_forward as fast_forward_module
from qtrain.models import build_model
from qtrain.models.fast_evaluation import fast_evaluation
from qtrain.models.fast_forward import Precision, fast_forward
from qtrain.recipe import Recipe
from qtrain.schedulers import layer_groups
from qtrain.training.captured.step import StaticStep, Work, can_capture
from qtrain.training.compiled import Compiled
from qtrain.training.memory import keep_freed_memory
from qtrain.training.methods.make import make_method

STEPS = 4
VIEWS = {"view", "_unsafe_view", "t", "transpose", "permute", "expand", "detach", "alias", "reshape", "squeeze"}
VIEWS |= {"unsqueeze", "slice", "select", "as_strided", "_reshape_alias", "empty", "empty_like", "unbind", "new_empty"}


def network(name: str = "CNV_2W2A", precision: Precision = "exact", **options: Any) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(name, width=0.125, **options).train()
    fast_forward(model, precision)
    return model


def batches(count: int = STEPS) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.rand(8, 3, 32, 32), torch.randint(0, 10, (8,))) for _ in range(count)]


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["CNV_1W1A", "RESNET20_4W4A", "CNV_4W4A"])
@pytest.mark.slow
def test_two_graphs_at_most_however_aslr_moves_the_rates(name: str) -> None:
    options = {"scaling": "learned"} if name == "CNV_4W4A" else {}
    model, counter = network(name, **options), CompileCounter()
    recipe = Recipe(name, "digits", scheduler="aslr", lr=0.01, epochs=3)
    method, forward = make_method(model, recipe, STEPS), Compiled(model, counter)
    drawn = set()
    for images, labels in batches():
        method.optimizer.zero_grad()
        F.cross_entropy(forward(images), labels).backward()
        method.optimizer.step()
        drawn.add(method.rates()[0])
    assert len(drawn) == STEPS
    assert forward.works
    assert counter.frame_count <= 2


@pytest.mark.slow
def test_a_compiled_network_gives_the_plain_loss_and_gradients() -> None:
    plain = network("TFC_2W2A")
    for module in plain.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    compiled = copy.deepcopy(plain)
    forward = Compiled(compiled)
    images, labels = torch.rand(8, 3, 28, 28), torch.arange(8)
    losses = [F.cross_entropy(run(images), labels) for run in (plain, forward)]
    for loss in losses:
        loss.backward()
    assert forward.works
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
    for theirs, ours in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def test_where_compiling_fails_it_says_so_and_goes_on_plainly() -> None:
    def broken(graph: Any, example: Any) -> Callable:
        raise RuntimeError("no compiler here\nand a long trace")

    model = network()
    twin = copy.deepcopy(model)
    forward = Compiled(model, broken)
    images = batches(1)[0][0]
    with pytest.warns(UserWarning, match=r"training goes on without --compile: .*"):
        logits = forward(images)
    assert not forward.works
    assert torch.equal(logits, twin(images))  # and the statistics moved once
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forward(images)
    assert [int(b) for n, b in model.named_buffers() if n.endswith("num_batches_tracked")] == [2] * 8


@pytest.mark.parametrize("optimizer", ["sgd", "nag", "adam"])
@pytest.mark.parametrize("scheduler", ["aslr", "cosine"])
def test_steps_on_fixed_tensors_are_the_optimizers_own(optimizer: str, scheduler: str) -> None:
    recipe = Recipe("CNV_2W2A", "digits", optimizer=optimizer, scheduler=scheduler, lr=0.01, weight_decay=1e-3)
    plain = network()
    static = copy.deepcopy(plain)
    methods = [make_method(model, recipe, STEPS) for model in (plain, static)]
    assert can_capture(methods[1].optimizer)

    def compute(images: Tensor, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(static(images), labels)
        loss.backward()
        return loss

    step = StaticStep(static, methods[1].optimizer, images=8)
    for number, (images, labels) in enumerate(batches()):
        for method in methods:
            method.before_step(number / STEPS)
        methods[0].optimizer.zero_grad()
        loss = F.cross_entropy(plain(images), labels)
        loss.backward()
        methods[0].optimizer.step()
        torch.testing.assert_close(
            step.step(Work((images, labels), len(images), compute)), loss.detach(), rtol=1e-4, atol=1e-5
        )
        assert methods[0].rates() == methods[1].rates()  # the same draws, one for each layer
    for (name, theirs), ours in zip(plain.named_parameters(), static.parameters(), strict=True):
        if name.endswith("weight") and theirs.dim() > 1:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-3, msg=name)
    state = methods[1].state_dict()["optimizer"]["param_groups"][0]
    assert isinstance(state["lr"], float)


def test_a_line_search_is_not_captured() -> None:
    method = make_method(network(), Recipe("CNV_2W2A", "digits", scheduler="armijo"), STEPS)
    assert not can_capture(method.optimizer)


class Counting(TorchDispatchMode):
    """Counts kernels, reads by the host, and tensors that come from another device."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.host: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        flat = [a for a in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
        out = function(*args, **(kwargs or {}))
        results = [r for r in torch.utils._pytree.tree_leaves(out) if isinstance(r, Tensor)]
        if name in ("_local_scalar_dense", "item") or len({t.device for t in [*flat, *results] if t.dim()}) > 1:
            self.host[name] += 1
        elif any(t.device.type == "meta" for t in [*flat, *results]) and name not in VIEWS:
            self.kernels[name] += 1
        return out


@pytest.mark.parametrize(
    ("name", "options"), [("CNV_1W1A", {}), ("CNV_4W4A", {}), ("CNV_8W8A", {}), ("VGG11_4W4A", {"scaling": "constant"})]
)
def test_a_step_is_at_most_300_kernels_and_no_copy_to_or_from_the_host(name: str, options: dict[str, Any]) -> None:
    """On the meta device, which computes nothing and so counts alike everywhere."""
    model = network(name, **options).to("meta")
    images, labels = torch.rand(8, 3, 32, 32, device="meta"), torch.zeros(8, dtype=torch.int64, device="meta")
    with Counting() as count:
        F.cross_entropy(model(images), labels).backward()
        model.clip_weights()  # type: ignore[operator]
    update = len(layer_groups(model)) + 1  # one fused kernel a group, and the copy of the rates
    assert count.host == {}
    assert 50 < sum(count.kernels.values()) + update <= 300, count.kernels


# What a step of scales that are trained or follow the weights may cost, forward and backward.
KERNELS = [
    ("CNV_4W4A", {"scaling": "learned"}, 170, 200),
    ("VGG11_4W4A", {}, 185, 225),
    ("RESNET20_4W4A", {}, 560, 700),
    ("WRN20_4W4A", {}, 600, 700),
    ("CNV_4W4A", {}, 140, 190),
]


@pytest.mark.parametrize(("name", "options", "exact", "fast"), KERNELS)
def test_the_scales_of_a_step_are_few_kernels(
    name: str, options: dict[str, Any], exact: int, fast: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device, in the types in which a GPU of compute capability 8.0 multiplies 4-bit integers."""
    monkeypatch.setattr(fast_forward_module, "grid_dtypes", lambda *_: (torch.float32, torch.bfloat16))
    images, labels = torch.rand(8, 3, 32, 32, device="meta"), torch.zeros(8, dtype=torch.int64, device="meta")
    precisions: list[tuple[Precision, int]] = [("exact", exact), ("fast", fast)]
    for precision, most in precisions:
        model = network(name, precision, **options).to("meta")
        for _ in range(2):  # constants are made, and how often the forward pass calls a layer is seen
            model(images)
        with Counting() as count:
            F.cross_entropy(model(images), labels).backward()
        assert count.host == {}
        assert 50 < sum(count.kernels.values()) <= most, (precision, count.kernels)


class Divisors(TorchDispatchMode):
    """Holds that nothing is divided by a number of the host."""

    def __init__(self) -> None:
        super().__init__()
        self.divisions = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ in ("div", "div_"):
            self.divisions += 1
            assert isinstance(args[1], Tensor), function
            assert args[1].device.type == "meta"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["CNV_4W4A", "CNV_8W8A", "VGG11_4W4A"])
def test_beside_a_cpu_no_quantizer_divides_by_a_number(name: str) -> None:
    """A GPU multiplies by a number's reciprocal, where Brevitas, whose scales are tensors, divides."""
    model = network(name).to("meta")
    images = torch.rand(8, 3, 32, 32, device="meta")
    with Divisors() as trained:
        model(images)
    model.eval()
    with torch.no_grad(), fast_evaluation(model), Divisors() as judged:
        model(images)
    assert trained.divisions
    assert judged.divisions


def test_freed_memory_is_kept_where_there_is_glibc() -> None:
    assert keep_freed_memory() is (platform.libc_ver()[0] == "glibc")

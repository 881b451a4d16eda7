"""Each fault that was found in the GPU path is planted anew, and the check that is meant for it must fail.

On a CPU, with the stand-in for torch.cuda. Without a fault every check passes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.arms as arms
import qtrain.data.jitter as jitter
import qtrain.training.beginning as beginning
import qtrain.training.setup as setup
from benchmarks.gpu.check_captured import (
    check_failed_captures,
    check_network,
    check_other_device,
    check_own_networks,
)
from benchmarks.gpu.check_forward import check_forward
from benchmarks.gpu.check_resume import check_resume
from benchmarks.gpu.check_tf32 import check_arms, check_exact_training, check_fast_training, check_range_test
from benchmarks.gpu.check_training import Copies, check_kept, check_training, check_waiting, check_warnings
from benchmarks.gpu.check_validation import check_validation
from benchmarks.gpu.place import Place, make_place
from benchmarks.gpu.report import Report, Say, checks_in
from qtrain.models import integer_multiply as grid
from qtrain.models.fast_evaluation import FastEvaluation
from qtrain.models.fast_forward import fast_forward
from qtrain.models.fast_quantizer import FastQuantizer, tensor_quantizer
from qtrain.training.captured.graph import StepGraph
from qtrain.training.captured.state import PythonState
from qtrain.training.captured.step import StaticStep
from qtrain.training.tf32 import tf32
from qtrain.training.validation import Validation
from tests.sampled import sampled

Patch = pytest.MonkeyPatch
NETWORK = "TFC_2W2A"


def place(**sizes: Any) -> Place:
    return make_place("cpu", **{"width": 0.125, "batch": 4, "size": 32} | sizes)


def captured(at: Place, say: Say) -> None:
    check_network(NETWORK, at, say)


def other_device(at: Place, say: Say) -> None:
    assert check_other_device(NETWORK, at, say)


def resume(at: Place, say: Say) -> None:
    check_resume(NETWORK, at, say, scaling="statistics")


def of(check: Callable[[str, Place, Say], None], network: str = NETWORK) -> Callable[[Place, Say], None]:
    """The check of a network."""

    def bound(at: Place, say: Say) -> None:
        check(network, at, say)

    bound.__name__ = check.__name__
    return bound


def failed_checks(check: Callable[[Place, Say], None], folder: Path) -> list[str]:
    """Names of checks that fail; what a check raises is one too."""
    report = Report(folder / "records.jsonl", {"device": "cpu"})
    at = place()
    report.group("group", "it", lambda say: check(at, say))
    passed, failed, _ = checks_in(folder / "records.jsonl")
    assert passed + len(failed) > 0
    assert len(failed) == len(report.failed)
    return [name.removeprefix("it ") for name in report.failed]


CHECKS = [captured, other_device, check_own_networks, of(check_exact_training), of(check_range_test)]
CHECKS += [of(check_fast_training), of(check_arms, "CNV_1W1A"), of(check_validation)]
LONG_CHECKS = [resume, check_failed_captures, of(check_training)]


@pytest.mark.parametrize("check", sampled([*CHECKS, *LONG_CHECKS], CHECKS[::3], id=lambda check: check.__name__))
def test_without_a_fault_every_check_passes(check: Callable[[Place, Say], None], tmp_path: Path) -> None:
    assert failed_checks(check, tmp_path) == []


def stale_scales(patch: Patch) -> None:
    """A1: the fast path is set up before a state is loaded, and holds the quantizers of then."""
    make = beginning.make_session
    kept: dict[int, Any] = {}

    def early(model: Any, recipe: Any, *args: Any, **options: Any) -> Any:
        fast_forward(model, recipe.precision)
        for layer in model.modules():
            if isinstance(getattr(layer, "fast", None), FastQuantizer):
                kept[id(layer.fast.proxy)] = tensor_quantizer(layer.fast.proxy)
        return make(model, recipe, *args, **options)

    patch.setattr(beginning, "make_session", early)
    patch.setattr(setup, "fast_forward", lambda model, precision: [])
    now = property(lambda self: kept.get(id(self.proxy)) or tensor_quantizer(self.proxy))
    patch.setattr(FastQuantizer, "quantizer", now)


def captured_as_torch_does_by_itself(self: StepGraph, work: Callable[[], None]) -> None:
    graph = self._cuda.CUDAGraph()
    with self._cuda.graph(graph):
        work()
    self._graph = graph


def wrong_device(patch: Patch) -> None:
    """A2: the capture's stream is the current device's."""
    patch.setattr(StepGraph, "record", captured_as_torch_does_by_itself)


def failed_capture_not_undone(patch: Patch) -> None:
    """A3: a step that reads is captured, and what its failure leaves behind stays."""

    @contextmanager
    def watched(self: StepGraph) -> Iterator[list[str]]:
        yield []

    patch.setattr(StepGraph, "record", captured_as_torch_does_by_itself)
    patch.setattr(StepGraph, "watched", watched)


def frozen_decisions(patch: Patch) -> None:
    """A4: nobody looks at what Python decides a step by."""
    patch.setattr(PythonState, "moved", lambda self: None)
    patch.setattr(PythonState, "moved_by_a_step", lambda self: None)


def frozen_rates(patch: Patch) -> None:
    """The rates of the first step stay."""
    write = StaticStep._write_rates

    def once(self: StaticStep) -> None:
        if not self.captured:
            write(self)

    patch.setattr(StaticStep, "_write_rates", once)


def first_batch_decides(patch: Patch) -> None:
    """B1: batches of the first one's size are captured."""
    step = StaticStep.step

    def step_of_that_size(self: Any, work: Any, **options: Any) -> Any:
        self._images = vars(self).setdefault("_first", work.images)
        return step(self, work, **options)

    patch.setattr(StaticStep, "step", step_of_that_size)


def stale_weights(patch: Patch) -> None:
    """A captured validation judges the weights that were quantized when it was captured."""
    prepare = FastEvaluation.prepare

    def once(self: FastEvaluation) -> None:
        if not self.tensors():
            prepare(self)

    patch.setattr(FastEvaluation, "prepare", once)


def reads_each_batch(patch: Patch) -> None:
    """The host asks for each batch's hits."""
    batch = Validation._batch

    def read(self: Validation, *args: Any) -> torch.Tensor:
        sums = batch(self, *args)
        sums.tolist()
        return sums

    patch.setattr(Validation, "_batch", read)


def jitter_from_python(patch: Patch) -> None:
    """B4: grey's weights are copied to the device in each step."""

    def grey(images: torch.Tensor) -> torch.Tensor:
        weights = torch.tensor(jitter._GREY, dtype=images.dtype, device=images.device)
        return (images * weights[:, None, None]).sum(1, keepdim=True)

    patch.setattr(jitter, "_grey", grey)


def tf32_everywhere(module: Any) -> Callable[[Patch], None]:
    """B5: whether TF32 is allowed is not looked after."""

    def plant(patch: Patch) -> None:
        patch.setattr(module, "tf32", lambda allowed: tf32(True))

    plant.__name__ = f"tf32_in_{module.__name__.rpartition('.')[-1]}"
    return plant


def kept_alive(patch: Patch) -> None:
    """B3: the step knows its session."""
    make = beginning.make_session

    def cycle(*args: Any, **options: Any) -> Any:
        session = make(*args, **options)
        session.batches.session = session
        return session

    patch.setattr(beginning, "make_session", cycle)


def adam_is_always_capturable(patch: Patch) -> None:
    """B8: it says so outside of a graph where it thinks that it has not yet, as after it was copied."""
    in_memory = StaticStep._rates_in_memory

    def capturable(self: StaticStep, capturable: bool) -> Any:
        self._optimizer._warned_capturable_if_run_uncaptured = False
        return in_memory(self, True)

    patch.setattr(StaticStep, "_rates_in_memory", capturable)


FAULTS: list[Any] = [  # what plants it, the check, what of it must fail
    (stale_scales, resume, ["resumed mid-epoch = uninterrupted"]),
    (wrong_device, other_device, ["captured on another device indeed"]),
    (failed_capture_not_undone, check_failed_captures, ["a capture that fails: nothing is left behind"]),
    (
        frozen_decisions,
        check_own_networks,
        [
            "a number annealed in forward: goes on, and is right",
            "statistics for some steps: captured = kernel by kernel",
        ],
    ),
    (frozen_rates, captured, ["captured = kernel by kernel"]),
    (first_batch_decides, resume, ["resumed at the small last batch: captured again"]),
    pytest.param(kept_alive, of(check_kept), ["nothing is kept after train"]),
    (jitter_from_python, of(check_waiting), ["no step waits for the device"]),
    (stale_weights, of(check_validation), ["a validation is Brevitas'"]),
    (
        reads_each_batch,
        of(check_validation),
        ["a validation is captured indeed", "the host waits once in a captured validation"],
    ),
    (tf32_everywhere(setup), of(check_exact_training), ["exact training uses no TF32"]),
    (tf32_everywhere(setup), of(check_range_test), ["the range test uses no TF32"]),
    (
        tf32_everywhere(arms),
        of(check_arms, "CNV_1W1A"),
        ["the benchmark's exact arm uses no TF32", "the products alone uses no TF32"],
    ),
    (adam_is_always_capturable, of(check_warnings), ["a whole run gives no warning"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "check", "names"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_fault_fails_its_check(
    plant: Callable[[Patch], None],
    check: Callable[[Place, Say], None],
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    assert set(names) <= set(failed_checks(check, tmp_path))


def test_copies_between_host_and_device_are_counted() -> None:
    """The meta device stands for a GPU: it is another one than the CPU."""
    there = torch.zeros(3, device="meta")
    with Copies() as copies:
        torch.ones(3).to("meta")
        there.copy_(torch.ones(3))
        there.clone()
        torch.ones(3).double()
    assert (copies.to_device, copies.to_host) == (2, 0)


def test_groups_end_with_their_time_and_say_what_was_left_out(tmp_path: Path) -> None:
    report = Report(tmp_path / "records.jsonl", {"device": "cpu"}, minutes=0)
    report.group("captured", "CNV_1W1A", lambda say: say("bits", False, ""))
    assert report.failed == []
    assert report.skipped == ["CNV_1W1A captured: no time is left"]
    assert checks_in(tmp_path / "records.jsonl") == (0, [], report.skipped)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["CNV_1W1A", "CNV_4W4A", "VGG11_4W4A", "RESNET20_4W4A"])
def test_networks_of_the_zoo_pass(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A CPU's bfloat16 rounds sums to 8 bits, which no GPU does: the limits are not for it.
    monkeypatch.setattr(grid, "_cpu_has_bfloat16", lambda: False)

    def check(at: Place, say: Say) -> None:
        check_network(network, at, say)
        check_forward(network, at, say, compiled=False)

    assert failed_checks(check, tmp_path) == []

"""A captured validation gives the loss and the accuracy of one taken kernel by kernel, to the bit, or says why not."""

import gc
import json
import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from brevitas import nn as qnn
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import qtrain.training.images_at_once as sizes
from qtrain.data import Split
from qtrain.experiments.run import resume_run, train_recipe
from qtrain.interrupt import Interrupted
from qtrain.models import FAMILIES
from qtrain.models.fast_evaluation import fast_evaluation
from qtrain.models.fast_forward import fast_forward
from qtrain.models.shapes import Size
from qtrain.recipe import Recipe
from qtrain.training import evaluate
from qtrain.training.context import RunContext
from qtrain.training.evaluation import Evaluation
from qtrain.training.images_at_once import bytes_per_image, images_at_once
from qtrain.training.losses import LOSSES
from qtrain.training.session import Session
from qtrain.training.validation import PATIENCE, Validation
from tests.replay import CUDAGraph, Replay
from tests.sampled import sampled
from tests.training.captured_runs import images, network, session_of, size_of, state_of
from tests.training.test_captured import Annealed, Collecting, Fails, Reads, Small, recipe_of

SAID = "validation goes on without a CUDA graph: "
IMAGES = 19  # five batches of 4, the last one smaller
EPOCHS = 5  # the first looks, the second and third capture


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "MOST", 4)


@dataclass
class Validated:
    """What validations after each epoch found, and the state that training ended in."""

    found: list[Evaluation]
    state: dict[str, Tensor]
    session: Session


def validated(
    model: nn.Module,
    recipe: Recipe,
    cuda: Replay,
    *,
    captures: bool,
    size: Size = 8,
    between: Callable[[Session, int], None] = lambda session, epoch: None,
    held_out: Split | None = None,
) -> Validated:
    """Train as the loop does and validate after each epoch."""
    held_out = images(IMAGES, size) if held_out is None else held_out
    session = session_of(model, recipe, images(11, size), cuda, captures=captures)
    loss = LOSSES[recipe.loss]
    found = []
    for epoch in range(recipe.epochs):
        model.train()
        for _ in session.steps(loss):
            session.after_step()
        between(session, epoch)
        with session.judged():
            found.append(session.validate(held_out, loss))
        assert model.training
        session.next_epoch()
    return Validated(found, state_of(session), session)


def assert_same(ours: Validated, theirs: Validated) -> None:
    assert [(repr(e.loss), e.accuracy) for e in ours.found] == [(repr(e.loss), e.accuracy) for e in theirs.found]
    assert ours.state.keys() == theirs.state.keys()
    assert [name for name, value in ours.state.items() if not torch.equal(value, theirs.state[name])] == []


def both(make: Callable[[], nn.Module], recipe: Recipe, **options: Any) -> tuple[Validated, Validated, Replay]:
    cuda = Replay()
    captured = validated(make(), recipe, cuda, captures=True, **options)
    assert cuda.left_behind() == []
    return captured, validated(make(), recipe, Replay(), captures=False, **options), cuda


def is_captured(run: Validated) -> bool:
    validation = run.session.validation
    assert validation is not None
    return validation.captured


def own(**changes: Any) -> Recipe:
    return recipe_of("TFC_1W1A", **{"epochs": EPOCHS} | changes)


def small(middle: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = Small(middle())
        fast_forward(model)
        return model

    return make


QUANTIZED = [name for name, family in FAMILIES.built_in.items() if not family.float_only]
UNCAPTURED = ("RESNET18_PYNQ",)  # Brevitas' additions of quantized tensors read the device


@torch.no_grad()
def assert_validates_as_evaluate(name: str, **options: Any) -> None:
    """Without training, which is slow: weights are moved in place between validations, as training moves them."""
    model = network(name, size_of(name), **options)
    pixels = images(IMAGES, size_of(name))
    cuda = Replay()
    validation = Validation(model, pixels, LOSSES["cross_entropy"], cuda)
    for number in range(4):
        for parameter in model.parameters():
            parameter.mul_(1.0 + 0.01 * number)
        found = validation.evaluate()
        with fast_evaluation(model):
            assert found == evaluate(model, pixels, LOSSES["cross_entropy"], validation.images)
    assert validation.why_not is None
    assert validation.captured
    assert cuda.left_behind() == []


@pytest.mark.parametrize(
    "name", sampled(["TFC_1W1A", "CNV_1W1A", "CNV_2W2A", "VGG11_4W4A", "RESNET20_4W4A"], ["TFC_1W1A", "CNV_2W2A"])
)
def test_a_captured_validation_is_that_of_evaluate_to_the_bit(name: str) -> None:
    assert_validates_as_evaluate(name)


@pytest.mark.parametrize("options", [{"scaling": "learned"}, {"scaling": "statistics", "per_channel": True}])
def test_trained_and_statistical_scales_are_those_of_the_present_weights(options: dict[str, Any]) -> None:
    assert_validates_as_evaluate("CNV_4W4A", **options)


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["1W1A", "4W4A"])
@pytest.mark.parametrize("scaling", ["constant", "learned", "statistics"])
@pytest.mark.parametrize("family", [name for name in QUANTIZED if name not in UNCAPTURED])
def test_every_family_is_captured_and_gives_the_bits_of_evaluate(family: str, scaling: str, bits: str) -> None:
    assert_validates_as_evaluate(f"{family}_{bits}", scaling=scaling)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_validations_between_captured_steps_leave_training_as_it_is(optimizer: str) -> None:
    recipe = own(optimizer=optimizer)
    captured, ordinary, cuda = both(lambda: network("TFC_2W2A", 8), recipe)
    assert captured.session.captured
    assert is_captured(captured)
    assert not is_captured(ordinary)
    assert_same(captured, ordinary)
    assert cuda.captures == 1 + 3  # a step; the beginning of a validation, a full batch and the last


def test_in_fast_precision_the_validation_is_exact_and_captured_too() -> None:
    def make() -> nn.Module:
        model = network("TFC_2W2A", 8)
        fast_forward(model, "fast")
        return model

    captured, ordinary, _ = both(make, own(precision="fast"))
    assert is_captured(captured)
    assert_same(captured, ordinary)


def test_a_device_that_is_not_the_current_one_validates_there() -> None:
    cuda = Replay(index=1)
    captured = validated(network("TFC_2W2A", 8), own(), cuda, captures=True)
    ordinary = validated(network("TFC_2W2A", 8), own(), Replay(index=1), captures=False)
    assert is_captured(captured)
    assert cuda.left_behind() == []
    assert_same(captured, ordinary)


class Calls(TorchDispatchMode):
    """Counts calls that a GPU would launch, and reads of the host."""

    LAUNCH_NOTHING = ("detach", "select", "slice", "alias", "view", "lift_fresh", "unbind")

    def __init__(self) -> None:
        super().__init__()
        self.launches: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name not in self.LAUNCH_NOTHING:
            self.launches.append(name)
        return function(*args, **(kwargs or {}))


def test_a_validation_is_one_launch_a_batch_and_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("TFC_2W2A", 8)
    cuda = Replay()
    validation = Validation(model, images(IMAGES, 8), LOSSES["cross_entropy"], cuda)
    for _ in range(4):
        wanted = validation.evaluate()
    assert validation.captured
    assert validation.images == 4
    replays = []
    monkeypatch.setattr(CUDAGraph, "replay", lambda graph: replays.append(graph))  # what is launched beside them
    read = []
    to_list = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda tensor: read.append(tensor) or to_list(tensor))
    with Calls() as calls:
        assert validation.evaluate() == wanted  # the sums are those of before
    assert len(replays) == 1 + 5
    assert len(set(replays)) == 3
    assert calls.launches == []
    assert len(read) == 1


def test_the_host_waits_once() -> None:
    model = network("TFC_2W2A", 8)
    cuda = Replay()
    validation = Validation(model, images(IMAGES, 8), LOSSES["cross_entropy"], cuda)
    for _ in range(4):
        validation.evaluate()
    cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        validation.evaluate()
    cuda.set_sync_debug_mode("default")
    assert ["synchronizing" in str(w.message) for w in caught] == [True]


# What lies elsewhere between two validations


@torch.no_grad()
def loaded(session: Session, epoch: int) -> None:
    """Brevitas makes its scales and quantizers anew where a state is loaded."""
    if epoch == 3:
        state = {name: tensor.clone() for name, tensor in session.model.state_dict().items()}
        session.model.load_state_dict({name: 1.5 * t if t.is_floating_point() else t for name, t in state.items()})


@torch.no_grad()
def other_numbers(session: Session, epoch: int) -> None:
    """Some clip weights so."""
    if epoch == 3:
        weight = session.model.get_submodule("fc1").weight
        weight.data = -weight.data


@torch.no_grad()
def other_parameter(session: Session, epoch: int) -> None:
    if epoch == 3:
        layer = next(m for m in session.model.modules() if isinstance(m, qnn.QuantLinear))
        layer.weight = nn.Parameter(layer.weight * 0.5)


def other_module(session: Session, epoch: int) -> None:
    if epoch == 3:
        for parent in list(session.model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm1d):
                    fresh = nn.BatchNorm1d(child.num_features)
                    nn.init.constant_(fresh.weight, -1.0)
                    setattr(parent, name, fresh)
                    return
        raise AssertionError("it has no BatchNorm1d")


@pytest.mark.parametrize("between", [loaded, other_numbers, other_parameter, other_module])
def test_what_lies_elsewhere_is_captured_anew(between: Callable[[Session, int], None]) -> None:
    runs = []
    for captures in (True, False):
        cuda = Replay()
        model = network("TFC_2W2A", 8, scaling="learned")
        pixels = images(IMAGES, 8)
        validation = Validation(model, pixels, LOSSES["cross_entropy"], cuda, captures=captures)
        session = session_of(model, own(), images(11, 8), cuda, captures=False)
        found, seen = [], []
        for epoch in range(7):
            between(session, epoch)
            found.append(validation.evaluate())
            with fast_evaluation(model):
                assert found[-1] == evaluate(model, pixels, LOSSES["cross_entropy"], validation.images)
            seen.append(validation.captured)
        assert seen == [captures and epoch in (2, 5, 6) for epoch in range(7)]
        assert found[2] != found[3]
        runs.append(found)
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("scheduler", "changes"),
    [
        ("aslr_average", {"optimizer": "sgd", "scheduler_options": {"tail": 0.9}}),
        ("schedulefree", {}),
        ("dog", {}),
        ("plateau", {}),
    ],
)
def test_weights_that_are_judged_in_place_of_the_trained_ones_are_read(scheduler: str, changes: dict[str, Any]) -> None:
    recipe = own(scheduler=scheduler, **changes)
    captured, ordinary, _ = both(lambda: network("TFC_2W2A", 8), recipe)
    assert is_captured(captured)
    assert_same(captured, ordinary)


def test_a_method_that_puts_other_tensors_in_place_is_seen() -> None:
    """No method here does; one that does is judged by the tensors that it puts there."""
    averages = [torch.full((8,), 0.5), torch.full((8,), 0.25)]

    @contextmanager
    def judged(session: Session) -> Iterator[None]:
        norm = next(m for m in session.model.modules() if isinstance(m, nn.BatchNorm2d))
        kept = norm.weight.data
        norm.weight.data = averages[session.at.epoch % 2][: len(kept)]
        try:
            yield
        finally:
            norm.weight.data = kept

    runs = []
    for captures in (True, False):
        model = small(nn.Identity)()
        session = session_of(model, own(), images(11, 8), Replay(), captures=captures)
        found = []
        for _ in range(4):
            with judged(session):
                found.append(session.validate(images(IMAGES, 8), LOSSES["cross_entropy"]))
            session.next_epoch()
        runs.append(found)
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]


# Networks of one's own


def test_statistics_that_are_not_frozen_yet_are_waited_for() -> None:
    recipe = own(epochs=8)
    captured, ordinary, _ = both(small(lambda: Collecting(steps=9)), recipe)
    assert is_captured(captured)
    assert captured.session.validation.why_not is None
    assert_same(captured, ordinary)


def test_a_number_that_moves_from_epoch_to_epoch_is_never_captured() -> None:
    recipe = own(epochs=PATIENCE + 3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        captured, ordinary, cuda = both(small(Annealed), recipe)
    assert [str(w.message) for w in said if str(w.message).startswith(SAID)] == [
        SAID + "middle.temperature changes again and again"
    ]
    assert not is_captured(captured)
    assert cuda.captures == 0
    assert_same(captured, ordinary)


class ReadsInEvaluation(Reads):
    """Looks at the device's numbers to decide, in evaluation alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else super().forward(x)


def test_a_validation_that_reads_is_not_captured_and_steps_are() -> None:
    with pytest.warns(UserWarning, match="without a CUDA graph") as said:
        captured, ordinary, _ = both(small(ReadsInEvaluation), own())
    lines = [str(w.message) for w in said]
    assert len(lines) == 1
    assert lines[0].startswith(SAID + "the batch reads from the device at ")
    assert captured.session.captured
    assert not is_captured(captured)
    assert_same(captured, ordinary)


@pytest.mark.parametrize("how", ["the host reads", "Python raises"])
def test_a_failed_capture_leaves_everything_as_it_was(how: str) -> None:
    cuda = Replay()

    class FailsInEvaluation(Fails):
        def forward(self, x: Tensor) -> Tensor:
            return x if self.training else super().forward(x)

    with pytest.warns(UserWarning, match="its capture failed") as said:
        captured = validated(small(lambda: FailsInEvaluation(cuda, how))(), own(), cuda, captures=True)
    ordinary = validated(small(lambda: FailsInEvaluation(Replay(), how))(), own(), Replay(), captures=False)
    assert len(said) == 1
    assert str(said[0].message).startswith(SAID)
    assert cuda.left_behind() == []
    assert captured.session.captured
    assert_same(captured, ordinary)


class Broken(nn.Module):
    """Gives NaN for some images, in evaluation alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else torch.where(x > x.mean(), torch.nan, x)


def test_nan_logits_give_nan_and_the_same_hits() -> None:
    captured, ordinary, _ = both(small(Broken), own())
    assert is_captured(captured)
    assert all(math.isnan(evaluation.loss) for evaluation in captured.found)
    assert_same(captured, ordinary)


# Whole runs


@pytest.mark.slow
def test_a_resumed_run_validates_to_the_same_bits(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(network="TFC_2W2A", train_size=40, epochs=7)
    monkeypatch.setattr(sizes, "MOST", 100)
    monkeypatch.setattr("qtrain.training.setup.graphs_for", lambda model: Replay())
    seen: list[bool] = []
    validate = Session.validate

    def noted(session: Session, *args: Any) -> Evaluation:
        found = validate(session, *args)
        seen.append(session.validation.captured)
        return found

    monkeypatch.setattr(Session, "validate", noted)
    train_recipe(recipe, tmp_path / "captured")
    assert seen == [False, False, True, True, True, True, True]
    monkeypatch.setattr(Session, "captures", False)
    train_recipe(recipe, tmp_path / "ordinary")
    monkeypatch.setattr(Session, "captures", True)
    taken = iter(range(1, 1000))
    seen.clear()
    with pytest.raises(Interrupted):
        train_recipe(recipe, tmp_path / "resumed", context=RunContext(stop=lambda: next(taken) == 6))
    resume_run(tmp_path / "resumed")
    assert seen[-1]
    wanted = validations_in(tmp_path / "ordinary")
    assert validations_in(tmp_path / "captured") == wanted
    assert validations_in(tmp_path / "resumed") == wanted


def validations_in(folder: Path) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    return [(r["validation_loss"], r["validation_accuracy"]) for r in lines if r["type"] == "epoch"]


def test_nothing_is_kept_once_the_session_is_gone() -> None:
    run = validated(network("TFC_2W2A", 8), own(), Replay(), captures=True)
    assert is_captured(run)
    validation = run.session.validation
    held = [weakref.ref(validation), *(weakref.ref(unit.graph) for unit in validation._units.values())]
    gc.disable()  # a cycle would stay
    try:
        del run, validation
        assert [reference() for reference in held] == [None] * 4
    finally:
        gc.enable()


# How many at a time


@pytest.mark.parametrize(
    ("count", "free", "wanted"),
    [
        (5000, 2**40, 2500),
        (4999, 2**40, 2500),
        (10_000, 2**40, 2500),
        (1000, 2**40, 1000),
        (5000, 8 * 1000 * 1200, 1000),  # 1200 at once: of five equal batches none is smaller
        (5000, 0, 100),
        (40, 0, 40),
        (1, 2**40, 1),
    ],
)
def test_batches_follow_the_free_memory(count: int, free: int, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "MOST", 2500)
    assert images_at_once(count, 1000.0, free) == wanted


def test_the_memory_of_an_image_is_what_is_alive_at_once() -> None:
    def forward(count: int) -> Tensor:
        fixed = torch.zeros(1000)
        x = torch.zeros(count, 100)  # 400 bytes
        y = x * 2
        del x
        z = y + fixed[0]
        return z[:1]

    assert bytes_per_image(forward) == 800


def test_looking_for_the_batch_moves_nothing() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            self.calls += 1
            return x + 0 * torch.rand(()) * self.seen

    model = small(Counts)()
    state = torch.get_rng_state()
    validation = Validation(model, images(IMAGES, 8), LOSSES["cross_entropy"], Replay(free=0), captures=False)
    with model_in_evaluation(model):
        validation._choose_images()
    assert torch.equal(torch.get_rng_state(), state)
    assert float(model.middle.seen) == 0
    assert model.middle.calls == 0
    assert validation.images == 4


@contextmanager
def model_in_evaluation(model: nn.Module) -> Iterator[None]:
    model.eval()
    with torch.no_grad():
        yield
    model.train()

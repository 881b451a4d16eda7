"""Captured steps are the steps taken kernel by kernel, bit for bit, or one line says why they are not captured."""

import gc
import inspect
import itertools
import json
import random
import re
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import qtrain.training.captured.repeated as captured_module
from qtrain.data import DataSet
from qtrain.experiments.run import resume_run, train_recipe
from qtrain.interrupt import Interrupted
from qtrain.models import FAMILIES
from qtrain.models.fast_forward import fast_forward
from qtrain.recipe import Recipe
from qtrain.training.captured.graph import StepGraph
from qtrain.training.captured.repeated import MOST_CAPTURES, WARM_UP
from qtrain.training.context import RunContext
from qtrain.training.session import Session
from qtrain.training.teacher import Teacher, teaching
from tests.checks import same
from tests.replay import CUDAGraph, Replay
from tests.training.captured_runs import (
    Run,
    advance,
    differences,
    images,
    network,
    session_of,
    size_of,
    state_of,
    train,
)

SAID = "training goes on without a CUDA graph: "


def recipe_of(name: str = "CNV_2W2A", **changes: Any) -> Recipe:
    """Three full batches and a smaller one an epoch."""
    values = {"epochs": 2, "batch_size": 4, "optimizer": "adam", "lr": 0.01, "augment": False, "loss": "cross_entropy"}
    return Recipe(name, "digits", **values | changes)


def both(make: Callable[[], nn.Module], recipe: Recipe, **options: Any) -> tuple[Run, Run, Replay]:
    """The run captured, the run kernel by kernel, and what captured."""
    cuda = Replay()
    captured = train(make(), recipe, captures=True, cuda=cuda, **options)
    ordinary = train(make(), recipe, captures=False, **options)
    assert cuda.left_behind() == []
    return captured, ordinary, cuda


def assert_captured(make: Callable[[], nn.Module], recipe: Recipe, **options: Any) -> None:
    captured, ordinary, cuda = both(make, recipe, **options)
    assert captured.session.captured
    assert cuda.captures == 1
    assert cuda.replays == 3  # the first is checked against an ordinary step
    assert not ordinary.session.captured
    assert differences(captured, ordinary) == []


def assert_not_captured(why: str, make: Callable[[], nn.Module], recipe: Recipe, **options: Any) -> None:
    """One line says why, and what is trained is what is trained without any capture."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        captured, ordinary, _ = both(make, recipe, **options)
    lines = [str(w.message) for w in said if str(w.message).startswith(SAID)]
    assert len(lines) == 1, lines
    assert why in lines[0]
    assert not captured.session.captured
    assert differences(captured, ordinary) == []


def collecting(model: nn.Module, steps: int) -> nn.Module:
    """Let quantizers that collect statistics at first do so for a few steps, not for Brevitas' 300."""
    for module in model.modules():
        if hasattr(module, "collect_stats_steps"):
            module.collect_stats_steps = steps
    return model


NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("TFC_1W1A", {}),
    ("CNV_1W1A", {}),
    ("CNV_4W4A", {"scaling": "learned"}),
    ("CNV_8W8A", {"scaling": "statistics", "per_channel": True}),
    ("CNV_2W2A", {"scaling": "learned", "power_of_two": True}),
    ("VGG11_4W4A", {}),
    ("VGG_SMALL_2W2A", {}),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_a_captured_network_trains_to_the_same_bits(name: str, options: dict[str, Any]) -> None:
    size = size_of(name)
    assert_captured(lambda: network(name, size, **options), recipe_of(name), size=size)


DEEP = ("RESNET18", "RESNET34", "RESNET50", "RESNET56", "WRN20", "WRN20_PAPER")


def _grid() -> list[tuple[str, str]]:
    """Every family at every width, with every scale; a deep one, which takes long, with one scale at each width."""
    found = []
    for family, about in FAMILIES.built_in.items():
        bits = ["FLOAT"] if about.float_only else ["1W1A", "2W2A", "4W4A", "8W8A"]
        scales = ["auto"] if about.float_only or about.quantized_only else ["constant", "learned", "statistics"]
        pairs = itertools.product(bits, scales)
        if family in DEEP:
            pairs = zip(bits, itertools.cycle(scales), strict=False)
        found += [(f"{family}_{b}", s) for b, s in pairs]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scaling"), _grid())
def test_every_family_at_every_width_and_scale(name: str, scaling: str) -> None:
    size = size_of(name)

    def make() -> nn.Module:
        return collecting(network(name, size, scaling=scaling), steps=2)

    if name.startswith("RESNET18_PYNQ"):  # its layers give each other quantized tensors, whose scales the host compares
        assert_not_captured("the step reads from the device at", make, recipe_of(name), size=size)
    else:
        assert_captured(make, recipe_of(name, optimizer="nag", lr=1e-4), size=size)


class Small(nn.Module):
    """A float network whose middle is the test's."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.middle = middle
        self.last = nn.Linear(4 * 6 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.norm(self.first(x))).flatten(1))


class Annealed(nn.Module):
    """A temperature that falls with every step."""

    def __init__(self, last_step: int = 10**9) -> None:
        super().__init__()
        self.temperature, self.last_step = 1.0, last_step

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.last_step:
            self.last_step -= 1
            self.temperature *= 0.9
        return x * self.temperature


class Depth(nn.Module):
    """Leaves itself out now and then, as drawn."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if self.training and self.draw() < 0.5 else x


class Reads(nn.Module):
    """Looks at its numbers to decide."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean().item() > 0 else x


class FromPython(nn.Module):
    """Makes a tensor of Python's numbers on the device in each step."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tensor([1.0, 2.0, 3.0, 4.0], device=x.device)[:, None, None]


class FromHost(nn.Module):
    """Moves a tensor of the host to the device in each step, as Brevitas' scales do."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.ones(1).type_as(x)


class Rebinds(nn.Module):
    """Keeps a mean in a buffer that each step replaces."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        return x - self.mean


class Hidden(nn.Module):
    """A number that falls with every step, where no module shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = [1.0]

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.kept[0] *= 0.9
        return x * self.kept[0]


def small(middle: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Small(middle())


def own(**changes: Any) -> Recipe:
    return recipe_of("TFC_1W1A", **{"epochs": 4} | changes)


@pytest.mark.parametrize("middle", [nn.Identity, lambda: nn.Dropout(0.3), lambda: nn.PReLU(4), nn.GELU])
def test_an_own_network_is_captured(middle: Callable[[], nn.Module]) -> None:
    captured, ordinary, cuda = both(small(middle), own(), size=8)
    assert captured.session.captured
    assert cuda.replays == 9
    assert differences(captured, ordinary) == []


class Draws(nn.Module):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(0)

    def forward(self, x: Tensor) -> Tensor:
        return x * (0.5 + self.generator.random()) if self.training else x


@pytest.mark.parametrize("middle", [Reads, FromPython, FromHost])
def test_a_step_that_reads_is_not_captured(middle: Callable[[], nn.Module]) -> None:
    assert_not_captured(f"the step reads from the device at {__file__}:", small(middle), own(), size=8)


@pytest.mark.parametrize(
    ("middle", "what"),
    [
        (Annealed, "middle.temperature"),
        (lambda: Depth(random.random), "Python's random state"),
        (lambda: Depth(np.random.random), "NumPy's random state"),
        (Hidden, "middle.kept"),
        (Draws, "middle.generator"),
        (Rebinds, "middle.mean"),
    ],
)
def test_a_step_that_python_changes_is_never_captured(
    middle: Callable[[], nn.Module], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured_module, "PATIENCE", 6)

    def make() -> nn.Module:
        random.seed(0)
        np.random.seed(0)
        return Small(middle())

    assert_not_captured(f"{what} changes from step to step", make, own(), size=8)


def test_capture_begins_when_a_number_has_settled() -> None:
    captured, ordinary, cuda = both(small(lambda: Annealed(last_step=4)), own(), size=8)
    assert captured.session.captured
    assert cuda.replays == 12 - 3 - WARM_UP  # the 4th number moves in the smaller batch of the first epoch
    assert differences(captured, ordinary) == []


def test_a_number_set_from_outside_makes_a_new_graph_a_few_times() -> None:
    recipe, cuda = own(), Replay()
    losses = []
    for captures in (True, False):
        model = Small(Annealed(last_step=0))
        session = session_of(model, recipe, images(24, 8), cuda, captures=captures)
        model.train()
        losses.append([])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for epoch in range(2 + MOST_CAPTURES):
                model.middle.temperature = 1 / (1 + epoch)
                for pixels, labels in session.batches.epoch(epoch):
                    losses[-1].append(float(session.step(nn.functional.cross_entropy, pixels, labels)))
                    session.after_step()
                session.at.step = 0
        if captures:
            assert [str(w.message) for w in said] == [SAID + "middle.temperature changes again and again"]
    assert cuda.captures == MOST_CAPTURES
    assert losses[0] == losses[1]


def test_a_graph_is_captured_and_replayed_on_the_device_of_the_parameters() -> None:
    cuda = Replay(index=1)
    captured = train(Small(nn.Identity()), own(), captures=True, cuda=cuda, size=8)
    ordinary = train(Small(nn.Identity()), own(), captures=False, cuda=Replay(index=1), size=8)
    assert captured.session.captured
    assert cuda.replays == 9
    assert cuda.left_behind() == []
    assert differences(captured, ordinary) == []


class Fails(nn.Module):
    """Cannot be captured, which nothing shows before: it reads in a capture alone."""

    def __init__(self, cuda: Replay, how: str) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)
        self.how = how
        self.__dict__["fail"] = lambda x: self._fail(cuda, x)

    def _fail(self, cuda: Replay, x: Tensor) -> None:
        if cuda.capture and self.how == "the host reads":
            x.sum().item()
        elif cuda.capture and self.how == "Python raises":
            raise ValueError("no such step\nand more")
        elif cuda.capture:
            self.how = "a number moves"
            raise KeyError("how")

    def forward(self, x: Tensor) -> Tensor:
        self.fail(x)
        return self.dropout(x)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (
            "the host reads",
            "its capture failed: RuntimeError: CUDA error: operation not permitted when stream is capturing",
        ),
        ("Python raises", "its capture failed: ValueError: no such step"),
        ("a number is to move", "its capture failed: KeyError: 'how'"),
    ],
)
def test_a_failed_capture_leaves_everything_as_it_was(how: str, why: str) -> None:
    cuda = Replay()
    with pytest.warns(UserWarning, match="without a CUDA graph") as said:
        captured = train(Small(Fails(cuda, how)), own(), captures=True, cuda=cuda, size=8)
    ordinary = train(Small(Fails(Replay(), how)), own(), captures=False, size=8)
    assert [str(w.message) for w in said] == [SAID + why]
    assert cuda.captures == 1
    assert cuda.replays == 0
    assert cuda.left_behind() == []
    assert captured.session.model.middle.how == how  # what Python changed in the capture never was
    assert differences(captured, ordinary) == []


def test_an_interrupted_capture_is_an_interrupt_and_leaves_the_device_usable() -> None:
    class Stopped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if cuda.capture:
                raise KeyboardInterrupt
            return x

    cuda = Replay()
    with pytest.raises(KeyboardInterrupt):
        train(Small(Stopped()), own(), captures=True, cuda=cuda, size=8)
    assert cuda.left_behind() == []


def test_loader_threads_may_pin_memory_during_a_capture() -> None:
    class Beside(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            thread = threading.Thread(target=cuda.unsafe_call)
            thread.start()
            thread.join()
            return x

    cuda = Replay()
    captured = train(Small(Beside()), own(), captures=True, cuda=cuda, size=8)
    assert captured.session.captured


def test_a_smaller_first_batch_does_not_decide_what_is_captured() -> None:
    """A run that was resumed before the last batch of an epoch sees that one first."""
    runs = []
    cuda = Replay()
    for captures in (True, False):
        session = session_of(Small(nn.Identity()), own(), images(15, 8), cuda, captures=captures)
        session.at.step = 3
        losses, rates = advance(session, own(), 4, images(16, 8))
        runs.append(Run(losses, rates, state_of(session), session))
    assert cuda.replays == 9 - WARM_UP
    assert differences(*runs) == []


def test_nothing_holds_data_and_graph_once_the_session_is_gone() -> None:
    run = train(Small(nn.Identity()), own(), captures=True, size=8)
    assert run.session.captured
    held = [weakref.ref(run.session._static.graph), weakref.ref(run.session.batches), weakref.ref(run.session)]
    gc.disable()  # a cycle would stay
    try:
        del run
        assert [reference() for reference in held] == [None] * 3
    finally:
        gc.enable()


def test_garbage_is_collected_before_a_capture_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier graph holds would else be freed within the capture."""
    events = []
    begin = CUDAGraph.capture_begin
    monkeypatch.setattr(CUDAGraph, "capture_begin", lambda *args: (events.append("capture"), begin(*args))[1])
    gc.callbacks.append(watch := lambda phase, info: events.append("collected") if info["generation"] == 2 else None)
    try:
        train(Small(nn.Identity()), own(), captures=True, size=8)
    finally:
        gc.callbacks.remove(watch)
    assert "collected" in events[: events.index("capture")]


def test_adam_does_not_warn_of_steps_outside_of_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own check, which asks the accelerator whether a step is captured."""
    cuda = Replay()
    stream = SimpleNamespace(is_capturing=cuda.is_current_stream_capturing)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda: stream)
    session = session_of(Small(nn.Identity()), own(optimizer="adam"), images(15, 8), cuda, captures=True)
    session.optimizer._warned_capturable_if_run_uncaptured = False  # as of one that was copied or read from a file
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advance(session, own(), 4, images(16, 8))
    assert session.captured


class Collecting(nn.Module):
    """Brevitas' defaults: activations collect statistics for their first steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.conv = qnn.QuantConv2d(4, 4, 3, padding=1, weight_bit_width=4)
        self.act = qnn.QuantReLU(bit_width=4)
        collecting(self, steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


def test_quantizers_collect_their_statistics_before_the_capture() -> None:
    def make() -> nn.Module:
        model = Small(Collecting(steps=4))
        fast_forward(model)
        return model

    captured, ordinary, cuda = both(make, own(epochs=5), size=8)
    assert captured.session.captured
    assert 0 < cuda.replays < 15 - WARM_UP
    assert differences(captured, ordinary) == []


SCHEDULERS = ["aslr", "aslr_decay", "aslr_capped", "aslr_smooth", "aslr_average", "multistep", "cosine"]
SCHEDULERS += ["cosine_restarts", "constant", "wsd", "onecycle", "plateau", "greedy"]
OPTIMIZERS = ["sgd", "nag", "adam", "adamw"]


def _pairs() -> list[Any]:
    """Each with each; one optimizer for each schedule, and all of them for ASLR, are quick enough for every day."""
    found = []
    for number, scheduler in enumerate(SCHEDULERS):
        for optimizer in OPTIMIZERS:
            daily = scheduler == "aslr" or OPTIMIZERS[number % len(OPTIMIZERS)] == optimizer
            found.append(pytest.param(scheduler, optimizer, marks=() if daily else pytest.mark.slow))
    return found


@pytest.mark.parametrize(("scheduler", "optimizer"), _pairs())
def test_every_schedule_moves_the_rates_of_the_graph(scheduler: str, optimizer: str) -> None:
    recipe = own(scheduler=scheduler, optimizer=optimizer, weight_decay=1e-3, epochs=3)
    captured, ordinary, cuda = both(small(lambda: nn.Dropout(0.2)), recipe, size=8)
    assert cuda.replays == 6
    assert differences(captured, ordinary) == []


@pytest.mark.parametrize(
    "changes",
    [{"scheduler": "transition"}, {"momentum": 0.0}, {"augment": True, "jitter": 0.4}, {"loss": "squared_hinge"}],
)
def test_other_recipes_are_captured_too(changes: dict[str, Any]) -> None:
    recipe = recipe_of("TFC_2W2A", **{"optimizer": "sgd", "epochs": 3} | changes)
    captured, ordinary, cuda = both(lambda: network("TFC_2W2A", 8), recipe, size=8)
    assert cuda.replays == 6
    assert differences(captured, ordinary) == []


AIDS: dict[str, dict[str, Any]] = {
    "smoothing": {"label_smoothing": 0.1},
    "mixup": {"mixup": 0.4},
    "mixup and noise": {"mixup": 0.4, "augment": True, "augmentation": "noise"},
    "mixup of a hinge": {"mixup": 0.4, "label_smoothing": 0.1, "loss": "squared_hinge"},
    "average": {"ema": 0.8},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "all": {"optimizer": "adamw", "weight_decay": 0.1, "mixup": 0.4, "label_smoothing": 0.1, "ema": 0.8},
}


@pytest.mark.parametrize("aid", AIDS)
def test_training_aids_are_captured(aid: str) -> None:
    recipe = recipe_of("TFC_2W2A", **{"epochs": 3} | AIDS[aid])
    captured, ordinary, cuda = both(lambda: network("TFC_2W2A", 8), recipe, size=8)
    assert cuda.captures == 1
    assert cuda.replays == 6
    assert differences(captured, ordinary) == []


@pytest.mark.parametrize("teacher", ["TFC_FLOAT", "CNV_4W4A"])
def test_a_teacher_is_asked_within_the_graph(teacher: str) -> None:
    """Its images are other ones in every step, those that the graph has read and mixed by itself."""
    recipe = recipe_of("CNV_2W2A", epochs=3, mixup=0.4, augment=True, teacher="there")
    runs = []
    cuda = Replay()
    for captures in (True, False):
        of_images = images(4 * recipe.batch_size - 1)
        data = DataSet("random", 10, tuple("0123456789"), "holdout", True, of_images, of_images, of_images)
        model = network("CNV_2W2A")
        with teaching(Teacher(network(teacher, 32), {"path": "there", "sha256": "0"}), recipe, data) as distillation:
            runs.append(
                train(
                    model,
                    recipe,
                    captures=captures,
                    cuda=cuda if captures else None,
                    split=of_images,
                    distillation=distillation,
                )
            )
    assert runs[0].session.captured
    assert cuda.replays == 6
    assert differences(*runs) == []
    assert len(set(runs[0].losses)) == len(runs[0].losses)


def _trained(folder: Path) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of the epochs, and the last weights, of a run folder."""
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    weights = torch.load(folder / "checkpoint.pt", weights_only=True)["model"]
    return [line["loss"] for line in lines if line["type"] == "epoch"], weights


@pytest.mark.slow
def test_a_run_that_is_resumed_goes_on_captured_to_the_same_bits(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped amid an epoch, after the capture, and before the small last batch."""
    recipe = tiny(network="TFC_2W2A", train_size=70, epochs=3)
    graphs: list[Replay] = []
    monkeypatch.setattr("qtrain.training.setup.graphs_for", lambda model: graphs.append(Replay()) or graphs[-1])
    train_recipe(recipe, tmp_path / "captured")
    assert graphs[0].replays == 6 + 2  # and the last validation's beginning and its batch, which are checked
    monkeypatch.setattr(Session, "captures", False)
    train_recipe(recipe, tmp_path / "ordinary")
    monkeypatch.setattr(Session, "captures", True)
    wanted_losses, wanted = _trained(tmp_path / "ordinary")
    assert _trained(tmp_path / "captured")[0] == wanted_losses
    assert same(_trained(tmp_path / "captured")[1], wanted)
    for steps in (6, 7):
        taken = iter(range(1, 100))
        with pytest.raises(Interrupted):
            train_recipe(
                recipe,
                tmp_path / str(steps),
                context=RunContext(stop=lambda taken=taken, steps=steps: next(taken) == steps),
            )
        resume_run(tmp_path / str(steps))
        losses, weights = _trained(tmp_path / str(steps))
        assert losses == wanted_losses
        assert same(weights, wanted)
        assert graphs[-1].replays == 9 - min(3, steps) - max(0, steps - 4) - WARM_UP


def test_the_stand_in_has_the_names_and_arguments_of_torch_cuda() -> None:
    source = Path(inspect.getfile(StepGraph)).read_text()
    asked = set(re.findall(r"cuda\.(\w+)", source)) | set(re.findall(r"\bmemory\.(\w+)", source))
    assert {"graph", "CUDAGraph", "Stream", "set_sync_debug_mode", "_cuda_endAllocateToPool"} <= asked
    for name in asked:
        holders = (torch.cuda.memory, Replay().memory) if name.startswith("_cuda") else (torch.cuda, Replay())
        assert all(hasattr(holder, name) for holder in holders), name
    assert {"pool", "stream", "capture_error_mode"} <= set(inspect.signature(torch.cuda.graph).parameters)
    assert list(inspect.signature(torch.cuda.set_rng_state).parameters) == ["new_state", "device"]
    generator = torch.Generator()
    assert all(callable(getattr(generator, name)) for name in ("clone_state", "graphsafe_set_state"))

"""A short training run, step by step and tensor by tensor, and where two of them differ first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.data import images
from benchmarks.gpu.place import Place
from qtrain.data import Batches
from qtrain.models.fast_forward import fast_forward
from qtrain.recipe import Recipe
from qtrain.training.captured.outcome import NOISE, distance
from qtrain.training.losses import LOSSES
from qtrain.training.session import Session
from qtrain.training.setup import make_session
from qtrain.training.tf32 import tf32

Make = Callable[[], nn.Module]


@dataclass
class Step:
    """What a step left.

    Attributes:
        tensors: its loss, and the model's and the optimizer's tensors by name.
        rates: of each group.
        where: epoch and step, for a person.
    """

    tensors: dict[str, Tensor]
    rates: list[float]
    where: str


@dataclass
class Trace:
    """What a run left.

    Attributes:
        steps: in their order, the state before the first one at the front.
        replays: full batches that were steps of a graph.
        why_not: why nothing was captured any more; None where it was or might have been.
    """

    steps: list[Step] = field(default_factory=list)
    replays: int = 0
    why_not: str | None = None


def short_recipe(network: str, place: Place, **changes: Any) -> Recipe:
    """Return a recipe in which all that a graph has to follow moves.

    The centre of ASLR's rates moves after the first epoch, and its rates shrink in the second; images are cropped,
    flipped and jittered, weights decay, and there is momentum.
    """
    values = {
        **{"scheduler": "aslr_decay", "scheduler_options": {"decay": 0.5}, "epochs": 2, "lr": 0.005},
        **{"optimizer": "nag", "momentum": 0.9, "weight_decay": 1e-3, "loss": "cross_entropy"},
        **{"augment": True, "jitter": 0.3, "batch_size": place.batch, "width": place.width},
    }
    return Recipe(network, "cifar10", **values | changes)


def run(make: Make, recipe: Recipe, place: Place, *, captures: bool) -> Trace:
    """Train as the loop does, with an evaluation after each epoch.

    Args:
        make: builds the network, always with the same weights.
        recipe: of the run.
        place: where.
        captures: whether steps may become a graph; else the same kernels are launched one by one.
    """
    split, held_out = images(place.images, place.size).to(place.device), images(20, place.size, 1).to(place.device)
    model = make().to(place.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast_forward(model, recipe.precision)
    batches = Batches(split, recipe.batch_size, seed=0, augment=recipe.augment, flip=True, jitter=recipe.jitter)
    torch.manual_seed(1)  # of dropout, on every device
    session = make_session(model, recipe, batches)
    session.cuda, session.captures = place.cuda, captures
    trace, loss_function = Trace([Step(state_of(session), [], "the start")]), LOSSES[recipe.loss]
    with tf32(recipe.precision == "fast"):
        for epoch in range(recipe.epochs):
            model.train()
            was_captured = session.captured
            for loss in session.steps(loss_function):
                full = batches.images_in(session.at.step) == recipe.batch_size
                trace.replays += was_captured and session.captured and full
                was_captured = session.captured
                session.after_step()
                tensors = {"loss": loss.clone(), "loss sum": session.loss_sum.clone(), **state_of(session)}
                where = f"epoch {epoch + 1} step {session.at.step}"
                trace.steps.append(Step(tensors, session.method.rates(), where))
            with session.judged():
                judged = session.validate(held_out, loss_function)
            session.method.validated(1 - judged.accuracy / 100)
            session.next_epoch()
    trace.why_not = None if session._static is None else session._static.why_not
    return trace


def state_of(session: Session) -> dict[str, Tensor]:
    """Copy every tensor that training moves."""
    found = dict(session.model.named_parameters()) | dict(session.model.named_buffers())
    for number, state in enumerate(session.optimizer.state.values()):
        found |= {f"state {number}.{name}": t for name, t in state.items() if isinstance(t, Tensor)}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def first_difference(ours: Trace, theirs: Trace) -> str | None:
    """Name the first step at which two runs differ in a bit, and the tensors; None for equal runs."""
    for mine, other in zip(ours.steps, theirs.steps, strict=True):
        if mine.rates != other.rates:
            return f"rates at {mine.where}"
        if names := _unequal(mine.tensors, other.tensors):
            more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
            return f"{names[0]}{more} at {mine.where}"
    return None


def agreement(captured: Trace, ordinary: Trace, again: Callable[[], Trace]) -> tuple[bool, str]:
    """Whether a captured run is the ordinary one, to the bit where that is a fair question.

    Args:
        captured: the run to judge.
        ordinary: the same, kernel by kernel.
        again: takes the ordinary run once more; asked where the two differ. Where even ordinary runs differ from each
            other, the captured one must stay as near, up to ``step_outcome.NOISE`` times, at every step.

    Returns:
        The verdict, and what to say of it.
    """
    count = len(ordinary.steps) - 1
    if (place := first_difference(captured, ordinary)) is None:
        return True, f"{count} steps, {captured.replays} of a graph, {len(ordinary.steps[-1].tensors)} tensors equal"
    repeated = again()
    if first_difference(repeated, ordinary) is None:
        return False, f"differs in {place}"
    largest = 0.0
    for before, ours, theirs, other in _rows(captured, ordinary, repeated):
        largest = max(largest, _distance(other, theirs, before))
        apart = _distance(ours, theirs, before)
        if ours.rates != theirs.rates or apart > NOISE * largest:
            return False, f"{apart:.1e} of a step apart at {ours.where}, ordinary runs {largest:.1e}"
    return True, f"{count} steps, {captured.replays} of a graph, as near as ordinary runs, {largest:.1e} of a step"


def _rows(captured: Trace, ordinary: Trace, repeated: Trace) -> list[tuple[Step, Step, Step, Step]]:
    return list(zip(ordinary.steps, captured.steps[1:], ordinary.steps[1:], repeated.steps[1:], strict=False))


def _distance(ours: Step, theirs: Step, before: Step) -> float:
    """How far two outcomes lie apart, against the step itself."""
    names = [name for name in theirs.tensors if name in before.tensors]
    columns = [[step.tensors[name] for name in names] for step in (ours, theirs, before)]
    return distance(*columns)


def _unequal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> list[str]:
    odd = sorted(ours.keys() ^ theirs.keys())
    return odd + [name for name, tensor in theirs.items() if name in ours and not same_bits(ours[name], tensor)]


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal; NaN is NaN's equal."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())

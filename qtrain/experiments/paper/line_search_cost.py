"""Table II of the ASLR paper: what a step costs under ASLR, L4 and Armijo, in alternating rounds of one process."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.experiments.paper.accuracies import TIME_RATIOS
from qtrain.recipe import Recipe
from qtrain.training.context import HERE, RunContext
from qtrain.training.losses import LOSSES
from qtrain.training.recorder import machine
from qtrain.training.setup import batches_of, choose_device, fast_path, make_session, place
from qtrain.training.splits import load_splits

REFERENCE = "aslr"
SCHEDULERS = (REFERENCE, *TIME_RATIOS)


class Trainee:
    """One run's training steps, without validation or records, and their clock.

    Args:
        recipe: of the run; its data are ``batches``'.
        data: loaded already.
        device: to train on.
        data_root: where ImageNet's tree lies.
    """

    def __init__(self, recipe: Recipe, data: Any, device: torch.device, data_root: str | Path | None = None):
        model = model_of(recipe, data_root).train()
        place(model, device)
        self.batches = batches_of(recipe, data)
        self.session = make_session(model, recipe, self.batches)
        self._recipe = recipe
        self._device = device
        self._stream = self._endless()

    def _endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.batches.epoch(self.session.at.epoch)
            self.session.at.epoch += 1
            self.session.at.step = 0

    def steps(self, count: int, stop: Callable[[], bool]) -> float | None:
        """Take so many steps; return the seconds of one, None where ``stop`` ended it early."""
        with fast_path(self.session.model, self._recipe):
            return self._timed_steps(count, stop)

    def _timed_steps(self, count: int, stop: Callable[[], bool]) -> float | None:
        begun = self._clock()
        for _ in range(count):
            images, labels = next(self._stream)
            self.session.step(LOSSES[self._recipe.loss], images, labels)
            self.session.after_step()
            if stop():
                return None
        return (self._clock() - begun) / count

    def _clock(self) -> float:
        """Read processor seconds of this process on the CPU, which other processes do not change; else real seconds."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return time.perf_counter()
        return time.process_time()


def line_search_cost(
    recipe: Recipe,
    context: RunContext = HERE,
    *,
    schedulers: Sequence[str] = SCHEDULERS,
    rounds: int = 5,
    steps: int = 4,
) -> dict[str, Any] | None:
    """Time training steps of every scheduler, one after the other in each round; all see the same batches.

    Args:
        recipe: shared by all; its scheduler is replaced.
        context: where it happens; its ``stop`` ends it with the rounds that are whole, its ``say`` is told of each.
        schedulers: ASLR first, which the others are held against.
        rounds: of all schedulers; the first, which warms up, is not counted and is one step.
        steps: a scheduler and round.

    Returns:
        Seconds of a step and an epoch (steps an epoch times a step's) and ratios of the medians with those of single
        rounds, as plain values; None where not even one round was finished.

    Raises:
        UserError: arguments out of range, or what was given cannot be trained.
    """
    if rounds < 1 or steps < 1 or schedulers[0] != REFERENCE:
        raise UserError(f"rounds and steps must be 1 or more and {REFERENCE} first, but got {rounds}, {steps}")
    where = choose_device(context.device)
    data = load_splits(recipe.replace(protocol="holdout"), context.data_root).to(where)
    trainees = {name: Trainee(recipe.replace(scheduler=name), data, where, context.data_root) for name in schedulers}
    found: list[dict[str, float]] = []
    for number in range(rounds + 1):
        times = {}
        for name, trainee in trainees.items():
            seconds = trainee.steps(steps if number else 1, context.stop)
            if seconds is None:
                return _record(recipe, found, trainees, steps, where) if found else None
            times[name] = seconds
        if number:
            found.append(times)
            said = ", ".join(f"{name} {seconds:.3f} s a step" for name, seconds in times.items())
            context.say(f"round {number}: {said}")
    return _record(recipe, found, trainees, steps, where)


def _record(
    recipe: Recipe, found: list[dict[str, float]], trainees: dict[str, Trainee], steps: int, device: torch.device
) -> dict[str, Any]:
    rows = {}
    for name, trainee in trainees.items():
        times = [seconds[name] for seconds in found]
        ratios = [seconds[name] / seconds[REFERENCE] for seconds in found]
        rows[name] = {
            "step_seconds": _spread(times),
            "epoch_seconds": median(times) * len(trainee.batches),
            "ratio": _spread(ratios),
            "counts": trainee.session.method.counts,
        }
    return {
        "network": recipe.network,
        "data": recipe.data,
        "batch_size": recipe.batch_size,
        "width": recipe.width,
        "train_size": recipe.train_size,
        "rounds": len(found),
        "steps_a_round": steps,
        "clock": "real time" if device.type == "cuda" else "process CPU time",
        "schedulers": rows,
        "machine": machine(device),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}

"""The learning-rate range test on a recipe: its network, data, optimizer and loss, and nothing of its schedule."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from qtrain.data import Split
from qtrain.errors import UserError
from qtrain.experiments.model import initial_model
from qtrain.experiments.teacher import read_teacher
from qtrain.recipe import AUTO, Recipe
from qtrain.schedulers.catalogue import SCHEDULERS
from qtrain.schedulers.lr_range import LrRange, lr_range_test
from qtrain.training import evaluate
from qtrain.training.captured.step import graphs_for
from qtrain.training.context import HERE, RunContext
from qtrain.training.losses import LOSSES, training_loss
from qtrain.training.methods.method import Method
from qtrain.training.methods.optimizer import make_optimizer
from qtrain.training.session import Position, Session
from qtrain.training.setup import batches_of, choose_device, fast_path, place
from qtrain.training.splits import load_splits
from qtrain.training.teacher import teaching

# Adam's steps do not shrink with the gradient, so its usable rates end far below SGD's.
HIGHEST = {"sgd": 1.0, "nag": 1.0, "adam": 0.1, "adamw": 0.1}
EPOCHS = 3
FEWEST_STEPS = 200
MOST_STEPS = 1000
READ_IMAGES = 500


@dataclass(frozen=True)
class RangeTest:
    """A finished range test and its cost.

    Attributes:
        found: the curve, the window and the suggestion.
        seconds: what it took, without reading the data.
    """

    found: LrRange
    seconds: float

    def record(self) -> dict[str, Any]:
        """Return what a run's record says of the test: window, suggestion, steps, seconds, why it stopped."""
        window = self.found.window
        return {
            "window": [window.low, window.high],
            "fell": window.fell,
            "suggestion": self.found.suggestion,
            "steps": self.found.steps,
            "seconds": self.seconds,
            "stopped": self.found.stopped,
        }

    def cost(self) -> str:
        """Return what the test took, in words for a person."""
        return f"{self.found.steps} steps, {self.seconds:.1f} s"


def find_lr(
    recipe: Recipe,
    context: RunContext = HERE,
    *,
    low: float = 0.0,
    high: float | None = None,
    steps: int | None = None,
    every: int | None = None,
) -> RangeTest:
    """Run the range test on the recipe's network as it is before training; nothing is written.

    The accuracy is read on up to 500 images held out of the training set, also where the recipe's protocol validates
    on the test set: a rate chosen on test images would be a leak.

    Args:
        recipe: its rate and scheduler do not matter.
        context: where it happens; its ``watch`` is told of every step.
        low: rate of the first step.
        high: rate of the last step; default 1 for sgd and nag, 0.1 for adam and adamw.
        steps: at most so many; default three epochs, but 200 to 1,000.
        every: steps between readings of the accuracy; default a fortieth of the steps.

    Raises:
        UserError: numbers out of range, or no usable window.
    """
    where = choose_device(context.device)
    if high is None:
        high = HIGHEST[recipe.optimizer]
    _check_high(high)
    data = load_splits(recipe.replace(protocol="holdout"), context.data_root).to(where)
    batches = batches_of(recipe, data)
    data = replace(data, train=batches.split)  # one copy of the images: that inside the padding
    if steps is None:
        steps = min(max(EPOCHS * len(batches), FEWEST_STEPS), MOST_STEPS)
    teacher = read_teacher(recipe, context.data_root)
    model, _ = initial_model(recipe, context.data_root)
    # The CPU's tests were recorded without channels last, which rounds otherwise.
    place(model, where, channels_last=where.type == "cuda")
    optimizer = make_optimizer(model, recipe.replace(lr=high))
    session = Session(model, Method(optimizer), batches, Position(), model, cuda=graphs_for(model))
    held_out = _few(data.validation)
    loss_of = LOSSES[recipe.loss]
    trained_by = training_loss(recipe)
    watch = context.watch
    stream = _forever(batches.epoch)

    def step() -> Tensor:
        images, labels = next(stream)
        loss = session.step(trained_by, images, labels)
        watch.step(len(labels))
        return loss

    def accuracy() -> float:
        return evaluate(model, held_out, loss_of).accuracy

    watch.start(f"{recipe.network} range test", steps, 0)
    started = time.perf_counter()
    try:
        with teaching(teacher, recipe, data) as session.distillation, fast_path(model, recipe):
            found = lr_range_test(model, optimizer, step, accuracy, low=low, high=high, steps=steps, every=every)
    finally:
        watch.finish()
    return RangeTest(found, time.perf_counter() - started)


def resolve_lr(recipe: Recipe, context: RunContext = HERE) -> tuple[Recipe, dict[str, Any]]:
    """Put the range test's suggestion in the place of ``lr: auto``.

    Returns:
        The recipe with a number, and the test's record: window, suggestion, steps and seconds.

    Raises:
        UserError: the recipe has a number already or a scheduler that reads none, or there is no usable window.
    """
    check_rate_is_read([recipe.scheduler])
    if recipe.lr != AUTO:
        raise UserError(f"lr is {recipe.lr:g} already; give lr auto to have the range test choose it")
    test = find_lr(recipe, context)
    return recipe.replace(lr=test.found.suggestion), test.record()


def check_rate_is_read(schedulers: Collection[str]) -> None:
    """See that the rate, which costs steps to find, will be read by one of the schedulers at least.

    Raises:
        UserError: none of them reads the recipe's rate.
    """
    if not any(SCHEDULERS.get(name).reads_lr for name in schedulers):
        names = ", ".join(schedulers)
        raise UserError(f"lr is auto, but {names} would not read the rate that is found; leave --lr out")


def _check_high(high: float) -> None:
    if not 0 < high < float("inf"):  # before it is the optimizer's first rate
        raise UserError(f"high must be a number above 0, but got --high {high:g}")


def _few(split: Split) -> Split:
    """Return the first images; a held-out split comes in random order, stratified by class."""
    return split.take(min(READ_IMAGES, len(split)))


def _forever(epoch: Callable[[int], Iterator[tuple[Tensor, Tensor]]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of one epoch after the other."""
    number = 0
    while True:
        yield from epoch(number)
        number += 1

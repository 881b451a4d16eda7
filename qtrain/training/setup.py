"""Sets a run up: device, batches, model and session, for training as for the range test and measurements of a step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from qtrain.data import Batches, DataSet, make_batches
from qtrain.devices import named_device
from qtrain.models.fast_forward import fast_forward, plain_forward
from qtrain.recipe import Recipe
from qtrain.training.average import average_of
from qtrain.training.captured.step import graphs_for
from qtrain.training.compiled import Compiled
from qtrain.training.distributed import ALONE, Ranks, own_gpu
from qtrain.training.methods.make import make_method
from qtrain.training.session import Position, Session
from qtrain.training.tf32 import tf32


def choose_device(name: str) -> torch.device:
    """``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``; under torchrun each rank has its own GPU.

    Raises:
        UserError: no such device here, or fewer GPUs than ranks.
    """
    return named_device(own_gpu(name))


def make_session(
    model: nn.Module, recipe: Recipe, batches: Batches, ranks: Ranks = ALONE, classes: int | None = None
) -> Session:
    """A run at its start, with what the recipe's scheduler stands for."""
    forward = Compiled(model) if recipe.compile else model
    method = make_method(model, recipe, len(batches))
    average = average_of(recipe, method)
    graphs = graphs_for(model)
    return Session(model, method, batches, Position(), forward, ranks, graphs, classes=classes, average=average)


def batches_of(recipe: Recipe, data: DataSet, ranks: Ranks = ALONE) -> Batches:
    """Make the mini-batches of the training split, as the recipe wants them.

    Args:
        recipe: gives their size, their order's seed, the augmentation and mixup.
        data: on the device to train on.
        ranks: the processes of the run; each gets its share of every batch.
    """
    kinds = data.kinds if recipe.kinds is None else recipe.kinds
    return make_batches(
        data.train,
        recipe.batch_size,
        seed=recipe.seed,
        augment=recipe.augment,
        crop="crop" in kinds,
        flip="flip" in kinds,
        jitter=recipe.jitter,
        noise=recipe.noise if "noise" in kinds else 0.0,
        mixup=recipe.mixup,
        classes=data.classes,
        rank=ranks.rank,
        ranks=ranks.size,
    )


def place(model: nn.Module, device: torch.device, channels_last: bool = True) -> None:
    """Move the model to the device; channels last, a step takes 1.1 to 1.2 times less and rounds otherwise."""
    model.to(device)
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def fast_path(model: nn.Module, recipe: Recipe) -> Iterator[list[str]]:
    """Inside, Brevitas' layers have the fast forward pass and the recipe's precision.

    Args:
        model: on its device already.
        recipe: gives the precision.

    Yields:
        Paths of the layers that keep Brevitas' own.
    """
    left = fast_forward(model, recipe.precision)
    try:
        with tf32(recipe.precision == "fast"):
            yield left
    finally:
        plain_forward(model)

"""Distillation: a trained network's logits are learned beside the labels.

Source: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qtrain.data import DataSet
from qtrain.errors import UserError
from qtrain.models.fast_evaluation import FastEvaluation
from qtrain.models.fast_forward import fast_forward, plain_forward
from qtrain.recipe import Recipe
from qtrain.records.runs import RECORDS, read_records
from qtrain.training.check_model import check_answers
from qtrain.training.distributed import ALONE, Ranks
from qtrain.training.tf32 import tf32

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network that another one learns from.

    Attributes:
        model: takes the same images and gives logits of the same classes.
        facts: for the record: path and sha256 of the file of its weights, its network and result.
    """

    model: nn.Module
    facts: Mapping[str, Any]


class Distillation:
    """What a teacher adds to the loss of a step.

    Args:
        model: the teacher's, in evaluation mode on the images' device.
        temperature: both logits are divided by it, above 0.
        weight: share of the loss that the teacher has, above 0 up to 1.
    """

    def __init__(self, model: nn.Module, temperature: float, weight: float):
        self._model = model
        self._temperature = temperature
        self._weight = weight

    def loss(self, loss: Loss, images: Tensor) -> Loss:
        """Ask the teacher about a batch, once, and return the loss that takes in what it said.

        Args:
            loss: of logits and labels.
            images: float [B, C, H, W], as the network that learns sees them.
        """
        with torch.no_grad(), tf32(False):
            said = self._model(images)
        return partial(distilled, loss, said, self._temperature, self._weight)


def distilled(loss: Loss, said: Tensor, temperature: float, weight: float, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the labels' loss and the divergence from the teacher, weighed.

    The divergence is Kullback and Leibler's of the softened distributions, times the square of the temperature, so that
    its gradients do not shrink as that grows (Section 2 of the paper).

    Args:
        loss: of logits and labels.
        said: the teacher's logits, float [B, classes].
        temperature: both logits are divided by it.
        weight: share of the divergence.
        logits: float [B, classes].
        labels: as ``loss`` takes them.
    """
    ours = F.log_softmax(logits / temperature, 1)
    theirs = F.log_softmax(said / temperature, 1)
    divergence = F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2
    return (1 - weight) * loss(logits, labels) + weight * divergence


@contextmanager
def teaching(
    teacher: Teacher | None, recipe: Recipe, data: DataSet, ranks: Ranks = ALONE, out: Path | None = None
) -> Iterator[Distillation | None]:
    """Inside, the teacher lies on the data's device, in evaluation mode, with weights that are quantized once.

    Args:
        teacher: that the recipe names.
        recipe: of the run that learns.
        data: on the device to train on.
        ranks: the processes of the run.
        out: folder of the run, where a run that goes on has the teacher on record.

    Yields:
        What it adds to the loss; None where the recipe names no teacher.

    Raises:
        UserError: there is a teacher and the recipe names none, or the reverse; it takes other images or gives other
            logits than of the data's classes; or it is another one than that on record.
    """
    _check_named(teacher, recipe)
    if teacher is None:
        yield None
        return
    model = teacher.model
    device = data.train.labels.device
    _check_same(teacher, out)
    model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as the network that learns
    ranks.start_alike(model)
    try:
        check_answers(model, data)
    except UserError as error:
        raise UserError(f"the teacher {teacher.facts.get('path')} cannot teach here: {error}") from None
    was_training = model.training
    model.eval()
    fast_forward(model)
    fast = FastEvaluation(model)
    try:
        with tf32(False):
            fast.prepare()
        with fast.used():
            yield Distillation(model, recipe.teacher_temperature, recipe.teacher_weight)
    finally:
        plain_forward(model)
        model.train(was_training)


def _check_named(teacher: Teacher | None, recipe: Recipe) -> None:
    if recipe.teacher is not None and teacher is None:
        raise UserError(
            f"the recipe learns from {recipe.teacher}, but train was given no teacher; use "
            "qtrain.experiments.run.train_recipe(recipe, out), which reads it and records which it was"
        )
    if recipe.teacher is None and teacher is not None:
        raise UserError("train was given a teacher, but the recipe names none; set its teacher to the run's folder")


def _check_same(teacher: Teacher, out: Path | None) -> None:
    """See that a run that goes on learns from what it began with."""
    records = read_records(out) if out is not None and (out / RECORDS).exists() else []
    known = [record["teacher"] for record in records if record["type"] == "run" and "teacher" in record]
    known = [facts.get("sha256") if isinstance(facts, dict) else None for facts in known]
    if known and known[0] != teacher.facts["sha256"]:
        raise UserError(
            f"the teacher {teacher.facts['path']} has changed since {out} began; put its old weights there, or train "
            "anew in another folder"
        )

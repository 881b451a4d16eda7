"""What a run's records say: of itself, of its epochs, and of its result."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch

from qtrain.records.format import to_json
from qtrain.records.runs import Epoch, Result
from qtrain.training.context import RunContext
from qtrain.training.evaluation import Evaluation
from qtrain.training.folder import recorded
from qtrain.training.loggers.logger import Logger
from qtrain.training.recorder import NoRecords, RecordWriter, machine
from qtrain.training.run import Run


def opened_records(
    run: Run,
    context: RunContext,
    loggers: Mapping[str, Logger],
    left: list[str],
    start: Mapping[str, Any] | None,
    extra: Mapping[str, Any] | None,
) -> RecordWriter | NoRecords:
    """Open the records of a run that begins or goes on; on all ranks but the first nothing is written.

    Args:
        run: of its parts.
        context: told what the run works with.
        loggers: that are handed each record, by their names.
        left: layers that keep Brevitas' forward pass.
        start: where the model's weights come from.
        extra: more entries for the run's own record.

    Raises:
        UserError: a logger cannot begin, or a record that the checkpoint knows of is lost.
    """
    if not run.session.ranks.is_first:
        return NoRecords()
    records = RecordWriter(run.saver.out, run.session.at.epoch, run.title, loggers, context.say)
    if records.empty:
        records.write(_first_record(run, left, start, extra))
    recorded(run.saver.out)
    for fact in _facts(run, left):
        context.detail(fact)
    return records


def _first_record(
    run: Run, left: list[str], start: Mapping[str, Any] | None, extra: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the run's own record.

    Args:
        run: that begins.
        left: layers that keep Brevitas' forward pass.
        start: where the model's weights come from.
        extra: more entries.
    """
    return {
        "type": "run",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine(run.where, run.session.ranks.size),
        "recipe": run.recipe.to_dict(),
        "data": to_json(run.data.facts()),
        "forward": {"precision": run.recipe.precision, "brevitas": left},
        **({"start": dict(start)} if start else {}),
        **(extra or {}),
    }


def _facts(run: Run, left: list[str]) -> list[str]:
    """Say what a run works with, for a person who wants to know all.

    Args:
        run: that begins.
        left: layers that keep Brevitas' forward pass.
    """
    data = run.data
    weights = sum(parameter.numel() for parameter in run.session.model.parameters())
    sizes = f"{len(data.train):,} to train, {len(data.validation):,} to validate, {len(data.test):,} to test with"
    where = f"{run.where.type}, {torch.get_num_threads()} threads, {run.session.ranks.size} processes"
    facts = [
        f"{run.recipe.network}: {weights:,} parameters, {len(run.session.batches):,} steps an epoch",
        f"{data.name}: {data.classes} classes, images {sizes}",
        f"trains on {where}, products {run.recipe.precision}",
    ]
    if left:
        facts.append(f"layers that keep Brevitas' own forward pass: {', '.join(left)}")
    return facts


def epoch_record(
    run: Run, epoch: int, lr: float, loss: float, images_per_second: float, validation: Evaluation
) -> dict[str, Any]:
    """Return what the records say of an epoch, counted from 0 here and from 1 there."""
    record = Epoch(
        epoch=epoch + 1,
        lr=lr,
        loss=loss,
        validation_loss=validation.loss,
        validation_accuracy=validation.accuracy,
        images_per_second=images_per_second,
        seconds=run.session.at.seconds,
        draws=run.session.draws(),
        counts=run.session.method.counts,
        **run.facts,
    )
    return {"type": "epoch", **to_json(record)}


def result_of(run: Run, test: Evaluation) -> Result:
    """Return what the run has come to.

    Args:
        run: that has ended.
        test: of the best weights, on the test images.
    """
    at = run.session.at
    return Result(
        test_accuracy=test.accuracy,
        validation_accuracy=at.best_accuracy,
        best_epoch=at.best_epoch,
        epochs=at.epoch,
        seconds=at.seconds,
        stopped_by=run.callbacks.stopped_by,
        why_stopped=run.callbacks.why_stopped,
    )


def result_record(run: Run, result: Result, test: Evaluation) -> dict[str, Any]:
    """Return the last record: the result, and what it was trained on."""
    computer = machine(run.where, run.session.ranks.size)
    more = {"test_loss": test.loss, "resumed": run.session.at.resumed, **run.facts, **computer}
    return {"type": "result", **to_json(result), **more}

"""The records of a run folder: one JSON line for the run, one an epoch, one for the result."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.records.format import AnyFloat, Source, from_json, is_finite
from qtrain.records.plain_files import read_plain_text

RECORDS = "records.jsonl"
_MEND = "train again or take an older copy"
_TIMES: dict[str, Any] = {"seconds": 0.0, "images_per_second": 0.0}  # of an epoch, as none of two records has them


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch's record.

    Attributes:
        epoch: from 1.
        lr: of the epoch's first step; the last one where the method finds its rate by itself.
        loss: mean of the training images.
        validation_loss: mean of the validation images.
        validation_accuracy: in percent.
        images_per_second: while it trained.
        seconds: since the run began, resumed parts included.
        draws: last learning rate of each layer.
        counts: what the optimizer counted since the start (extra forward passes, skipped steps).
        seed: of the run.
        protocol: of the run.
        scheduler: of the run.
    """

    epoch: int
    lr: float
    loss: AnyFloat
    validation_loss: AnyFloat
    validation_accuracy: float
    images_per_second: float = 0.0
    seconds: float
    draws: Mapping[str, float]
    counts: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    protocol: str = ""
    scheduler: str = ""


@dataclass(frozen=True)
class Result:
    """Of a finished run.

    Attributes:
        test_accuracy: of the best weights, in percent.
        validation_accuracy: the best, in percent.
        best_epoch: from 1.
        epochs: that were trained.
        seconds: that training took, resumed parts included.
        stopped_by: the callback that ended the run before its recipe's last epoch; None where none did.
        why_stopped: in its words.
    """

    test_accuracy: float
    validation_accuracy: float
    best_epoch: int
    epochs: int
    seconds: float
    stopped_by: str | None = None
    why_stopped: str | None = None


@dataclass(frozen=True)
class FinishedRun:
    """All that the records of a finished run say.

    Attributes:
        recipe: as plain values.
        facts: the rest of the run's own record: date, machine, versions.
        epochs: in order, each once.
        result: of the run.
    """

    recipe: Mapping[str, Any]
    facts: Mapping[str, Any]
    epochs: tuple[Epoch, ...]
    result: Result


@dataclass(frozen=True)
class Progress:
    """How far a run is, finished or not.

    Attributes:
        recipe: as plain values; empty before the run's own record is written.
        epochs: that are behind it.
        best: validation accuracy so far, in percent; None before the first epoch.
        seconds: since the run began, resumed parts included.
        epoch_seconds: of the last epoch.
        result: of a finished run.
    """

    recipe: Mapping[str, Any]
    epochs: int
    best: float | None
    seconds: float
    epoch_seconds: float
    result: Result | None


@dataclass(frozen=True)
class _Start:
    """What every run's own record holds."""

    recipe: Mapping[str, Any]


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Read all records of a run folder as plain values, in order.

    Raises:
        UserError: none there, or a line that is no record.
    """
    source = _source(folder)
    try:
        text = read_plain_text(source.path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is not a run folder (no {RECORDS}); name one that qtrain train wrote") from None
    except UnicodeDecodeError as error:
        raise source.damaged(str(error)) from None
    records = source.whole_lines(text)
    if not all("type" in record for record in records):
        raise UserError(f"{source.path} holds no records of qtrain; name a folder that qtrain train wrote")
    return records


def read_finished(folder: Path) -> FinishedRun:
    """Read the records of a finished run.

    Raises:
        UserError: it is not finished, or a record is damaged or missing.
    """
    records = read_records(folder)
    of_type = {kind: [r for r in records if r["type"] == kind] for kind in ("run", "epoch", "result")}
    if not of_type["run"] or not of_type["result"]:
        raise UserError(f"{folder} is not a finished run; continue it with: qtrain train --resume {folder}")
    source = _source(folder)
    start = of_type["run"][-1]
    result = _one_result(of_type["result"], source)
    by_number = _each_once([from_json(Epoch, record, source) for record in of_type["epoch"]], source)
    _check_numbers(source, by_number, result.epochs)
    return FinishedRun(
        recipe=from_json(_Start, start, source).recipe,
        facts={key: value for key, value in start.items() if key not in ("type", "recipe")},
        epochs=tuple(by_number[number] for number in sorted(by_number)),
        result=result,
    )


def check_epochs(folder: Path, records: Iterable[Mapping[str, Any]], epochs: int) -> None:
    """See that records are of all the epochs that a checkpoint knows of.

    Raises:
        UserError: one is lost.
    """
    numbers = {record.get("epoch") for record in records if record["type"] == "epoch"}
    _check_numbers(_source(folder), {number for number in numbers if type(number) is int}, epochs)


def _check_numbers(source: Source, numbers: Iterable[int], epochs: int) -> None:
    if sorted(numbers) != list(range(1, epochs + 1)):
        raise source.damaged(f"epochs 1 to {epochs} are expected, but it has {sorted(numbers)}")


def read_progress(folder: Path) -> Progress:
    """Read how far a run is; of its epochs only what that needs is checked, for thousands of runs are read at once.

    Raises:
        UserError: no records there, or a damaged one.
    """
    recipe: Mapping[str, Any] = {}
    result = None
    epochs: dict[int, float] = {}
    best: float | None = None
    path = _source(folder).path
    for number, record in enumerate(read_records(folder), 1):
        if record["type"] == "run":
            recipe = from_json(_Start, record, Source(path, _MEND, number)).recipe
        elif record["type"] == "result":
            result = from_json(Result, record, Source(path, _MEND, number))
        elif record["type"] == "epoch":
            accuracy: Any = record.get("validation_accuracy")
            seconds: Any = record.get("seconds")
            if not (type(record.get("epoch")) is int and is_finite(accuracy) and is_finite(seconds)):
                from_json(Epoch, record, Source(path, _MEND, number))  # says which entry is wrong
            epochs[record["epoch"]] = seconds
            best = accuracy if best is None else max(best, accuracy)
    times = [epochs[number] for number in sorted(epochs)]
    last = times[-1] - times[-2] if len(times) > 1 else sum(times)
    return Progress(recipe, max(epochs, default=0), best, times[-1] if times else 0.0, last, result)


def read_epochs(folder: Path) -> tuple[Epoch, ...]:
    """Read the epochs of a run that need not be finished, in order, each once.

    Raises:
        UserError: no records there, or a damaged one.
    """
    numbered = enumerate(read_records(folder), 1)
    epochs = [from_json(Epoch, record, _source(folder, number)) for number, record in numbered if _is_epoch(record)]
    found = _each_once(epochs, _source(folder))
    return tuple(found[number] for number in sorted(found))


def _is_epoch(record: Mapping[str, Any]) -> bool:
    return bool(record["type"] == "epoch")


def _each_once(epochs: Sequence[Epoch], source: Source) -> dict[int, Epoch]:
    """Return epochs by their numbers; a second record of one may differ in the time that it took.

    Raises:
        UserError: two records of an epoch say different things, so that either may be wrong.
    """
    found: dict[int, Epoch] = {}
    for epoch in epochs:
        known = found.setdefault(epoch.epoch, epoch)
        # repr, for NaN is the same loss twice
        if repr(replace(known, **_TIMES)) != repr(replace(epoch, **_TIMES)):
            raise source.damaged(f"epoch {epoch.epoch} is there twice, with different values")
        found[epoch.epoch] = epoch
    return found


def _one_result(records: Sequence[Mapping[str, Any]], source: Source) -> Result:
    """Return the result of a run.

    Raises:
        UserError: it is damaged, or there are two that differ.
    """
    first, *others = [from_json(Result, record, source) for record in records]
    if any(other != first for other in others):
        raise source.damaged("it has two results that differ")
    return first


def read_result(folder: Path) -> Result | None:
    """Read the result of a run; None where it has not ended.

    Raises:
        UserError: the records are damaged, or lost.
    """
    results = [record for record in read_records(folder) if record["type"] == "result"]
    return _one_result(results, _source(folder)) if results else None


def _source(folder: Path, line: int | None = None) -> Source:
    return Source(folder / RECORDS, _MEND, line)

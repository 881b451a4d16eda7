"""Records that contradict themselves are damaged: which of two values is right, nobody can tell."""

import json
from pathlib import Path

import pytest

from qtrain.errors import UserError
from qtrain.records.runs import read_epochs, read_finished, read_progress, read_result
from tests.report.runs.run_folders import add, add_epoch, write_run


def test_an_epoch_twice_with_other_values_is_damaged(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    add_epoch(run, 2, seconds=9.5, images_per_second=7.0)  # the same epoch, in another time
    assert len(read_finished(run).epochs) == 4
    add_epoch(run, 2, loss=0.25)
    for read in (read_finished, read_epochs):
        with pytest.raises(UserError, match=r"damaged \(epoch 2 is there twice, with different values\)"):
            read(run)


def test_a_loss_that_is_not_finite_is_the_same_twice(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", done=1)
    for _ in range(2):
        add_epoch(run, 2, loss=float("nan"))
    assert len(read_epochs(run)) == 2


def test_two_results_that_differ_are_damaged(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    last = json.loads((run / "records.jsonl").read_text().splitlines()[-1])
    add(run, last)
    assert read_result(run) is not None
    add(run, last | {"test_accuracy": 99.0})
    for read in (read_finished, read_result):
        with pytest.raises(UserError, match=r"is damaged \(it has two results that differ\)"):
            read(run)


def test_an_entry_twice_in_a_record_is_damaged(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", done=1)
    records = (run / "records.jsonl").read_text()
    twice = records.replace('"validation_accuracy"', '"validation_accuracy": 99, "validation_accuracy"')
    (run / "records.jsonl").write_text(twice)
    with pytest.raises(UserError, match=r"is damaged \(line 2: 'validation_accuracy' is there twice\)"):
        read_progress(run)


def test_a_number_that_no_float_holds_is_damage(tmp_path: Path) -> None:
    for name in ("seconds", "loss"):
        run = write_run(tmp_path / name, done=1)
        add_epoch(run, 2, **{name: 10**400})
        with pytest.raises(UserError, match=rf"is damaged \((line 3: )?'{name}' must be a number, but is 1000"):
            read_epochs(run)
    with pytest.raises(UserError, match="'seconds' must be a number"):
        read_progress(tmp_path / "seconds")

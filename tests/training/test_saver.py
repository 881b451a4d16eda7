"""Checkpoints are written by a thread: of a copy, the best weights first, one at a time, and an error is raised."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qtrain.data import DataSet
from qtrain.experiments.model import model_of
from qtrain.recipe import Recipe
from qtrain.records.runs import read_records
from qtrain.training import Silent, checkpoint, train
from qtrain.training.context import RunContext
from qtrain.training.saver import Saver, snapshot


def state(value: float) -> dict[str, Any]:
    weights = torch.full((3,), value)
    return {"recipe": {"value": value}, "model": {"weight": weights, "tied": weights, "part": weights[1:]}}


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_a_snapshot_is_saved_as_the_same_bytes() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    given = {"model": model.state_dict(), "method": optimizer.state_dict(), "more": (1, "a", None, [2.5]), **state(1.0)}
    assert saved(snapshot(given)) == saved(given)


def test_a_snapshot_shares_no_memory_with_what_it_is_of() -> None:
    given = {"list": [1], **state(1.0)}
    copied = snapshot(given)
    given["model"]["weight"].fill_(2.0)
    given["list"].append(2)
    assert copied["model"]["weight"].tolist() == [1.0, 1.0, 1.0]
    assert copied["list"] == [1]
    copied["model"]["weight"].fill_(3.0)
    assert copied["model"]["part"].tolist() == [3.0, 3.0]  # views stay views of one another


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, list[str]]:
    """Hold every write until an event is set; return the event, and the files in the order of their writes."""
    go = threading.Event()
    order: list[str] = []
    save = checkpoint.save

    def slow(path: Path, value: dict[str, Any]) -> None:
        assert go.wait(60)
        save(path, value)
        order.append(path.name)

    monkeypatch.setattr(checkpoint, "save", slow)
    return go, order


def test_saving_returns_while_the_file_is_being_written_and_keeps_what_was(
    tmp_path: Path, held: tuple[threading.Event, list[str]]
) -> None:
    go, order = held
    given = state(1.0)
    with Saver(tmp_path) as saver:
        saver.keep_best(given)
        saver.save(given)
        given["model"]["weight"].fill_(2.0)
        assert order == []
        go.set()
        saver.wait()
        assert order == [checkpoint.BEST, checkpoint.LAST]
    for name in order:
        assert checkpoint.load(tmp_path / name)["model"]["weight"].tolist() == [1.0, 1.0, 1.0]


def test_one_write_is_in_flight_at_most(tmp_path: Path, held: tuple[threading.Event, list[str]]) -> None:
    go, order = held
    with Saver(tmp_path) as saver:
        saver.save(state(1.0))
        second = threading.Thread(target=saver.save, args=(state(2.0),))
        second.start()
        second.join(0.2)
        assert second.is_alive()  # it waits for the first
        go.set()
        second.join()
    assert order == [checkpoint.LAST, checkpoint.LAST]
    assert checkpoint.load(tmp_path / checkpoint.LAST)["recipe"] == {"value": 2.0}


def test_an_error_of_the_thread_is_raised_where_it_is_waited_for(tmp_path: Path) -> None:
    with Saver(tmp_path / "nowhere") as saver:
        saver.save(state(1.0))
        with pytest.raises(FileNotFoundError):
            saver.wait()
    with pytest.raises(FileNotFoundError), Saver(tmp_path / "nowhere") as saver:
        saver.save(state(1.0))
    with pytest.raises(ValueError, match="first"):
        fails_while_it_saves(tmp_path / "nowhere")


def fails_while_it_saves(folder: Path) -> None:
    with Saver(folder) as saver:
        saver.save(state(1.0))
        raise ValueError("first")


class Epochs(Silent):
    """Notes, as each step begins, the epochs on record and the epoch of the checkpoint."""

    def __init__(self, out: Path):
        self.out = out
        self.seen: list[tuple[int, int]] = []

    def step(self, images: int) -> None:
        if (self.out / checkpoint.LAST).exists():
            recorded = sum(record["type"] == "epoch" for record in read_records(self.out))
            self.seen.append((recorded, checkpoint.load(self.out / checkpoint.LAST)["position"]["epoch"]))


def test_the_records_are_at_most_one_epoch_ahead_of_the_checkpoint_and_never_behind(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = tiny(epochs=4)
    watch = Epochs(tmp_path / "run")
    train(model_of(recipe), recipe, tmp_path / "run", RunContext(watch=watch), data=few_digits)
    assert watch.seen
    assert all(recorded - 1 <= epoch <= recorded for recorded, epoch in watch.seen)


def test_a_disk_that_is_full_ends_the_run_with_its_error(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(epochs=3)

    def full(path: Path, _: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        train(model_of(recipe), recipe, tmp_path / "run", data=few_digits)
    assert error.value.filename == str(tmp_path / "run" / checkpoint.BEST)

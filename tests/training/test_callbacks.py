"""Callbacks: what they are told, how they end a run, and that a resumed run goes on with them bit for bit."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from qtrain.data import DataSet
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.experiments.run import resume_run, train_recipe
from qtrain.recipe import Recipe
from qtrain.records.runs import RECORDS, read_finished, read_records
from qtrain.training import Callback, EarlyStop, Interrupted, Result, RunContext, TrainingRun, checkpoint, train
from qtrain.training.session import Session
from tests.replay import Replay
from tests.sampled import sampled
from tests.training.test_resume import everything

STEPS, EPOCHS = 3, 2  # of the tiny recipe


class Diary(Callback):
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.losses: list[Tensor] = []

    def on_train_begin(self, run: TrainingRun) -> None:
        self.told.append(f"begin at {run.steps_done}")

    def on_step_end(self, run: TrainingRun, loss: Tensor) -> None:
        self.told.append(f"step {run.steps_done}")
        self.losses.append(loss.clone())

    def on_epoch_end(self, run: TrainingRun, record: Mapping[str, Any]) -> None:
        self.told.append(f"epoch {record['epoch']} at {run.steps_done}, best {run.best_epoch}")

    def on_train_end(self, run: TrainingRun, result: Result | None) -> None:
        self.told.append("end" if result is None else f"end: {result.test_accuracy}")

    def state_dict(self) -> dict[str, Any]:
        return {"told": list(self.told), "losses": list(self.losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.told, self.losses = state["told"], state["losses"]


class Ends(Callback):
    """Ends the run at a step, counted from 1 over the run, or after an epoch."""

    def __init__(self, step: int = 0, epoch: int = 0):
        self.step, self.epoch = step, epoch

    def on_step_end(self, run: TrainingRun, loss: Tensor) -> str | None:
        return "enough steps" if run.steps_done == self.step else None

    def on_epoch_end(self, run: TrainingRun, record: Mapping[str, Any]) -> str | None:
        return "enough epochs" if record["epoch"] == self.epoch else None


def in_pieces(
    recipe: Recipe, out: Path, data: DataSet, stops: set[int], make: Callable[[], list[Callback]]
) -> list[Callback]:
    """Train, stopping after each of these steps, and resume with callbacks that know nothing; return the last ones."""
    done = 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done in stops

    for i in range(len(stops)):
        with pytest.raises(Interrupted):
            train(model_of(recipe), recipe, out, RunContext(stop=stop), data=data, resume=i > 0, callbacks=make())
        torch.manual_seed(done)
    callbacks = make()
    train(model_of(recipe), recipe, out, RunContext(stop=stop), data=data, resume=True, callbacks=callbacks)
    return callbacks


# told


def test_a_callback_is_told_of_beginning_steps_epochs_and_end(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe, diary = tiny(epochs=EPOCHS), Diary()
    result = train(model_of(recipe), recipe, tmp_path / "run", data=few_digits, callbacks=[diary])
    first, second = (record for record in read_records(tmp_path / "run") if record["type"] == "epoch")
    best = [1, 2 if second["validation_accuracy"] > first["validation_accuracy"] else 1]
    assert diary.told == [
        *("begin at 0", "step 1", "step 2", "step 3", f"epoch 1 at 3, best {best[0]}"),
        *("step 4", "step 5", "step 6", f"epoch 2 at 6, best {best[1]}", f"end: {result.test_accuracy}"),
    ]
    batches = [20, 20, 20]
    weighted = sum(float(loss) * count for loss, count in zip(diary.losses[3:], batches, strict=True))
    assert weighted / 60 == pytest.approx(second["loss"], rel=1e-6)


def test_two_callbacks_of_one_name_keep_a_state_each(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = tiny(epochs=1)
    train(model_of(recipe), recipe, tmp_path / "run", data=few_digits, callbacks=[Diary(), Diary()])
    kept = checkpoint.load(tmp_path / "run" / checkpoint.LAST)["callbacks"]["states"]
    assert set(kept) == {"Diary", "Diary 2"}


def test_a_run_without_callbacks_writes_the_checkpoint_it_always_wrote(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe = tiny(epochs=1)
    train(model_of(recipe), recipe, tmp_path / "run", data=few_digits)
    assert "callbacks" not in checkpoint.load(tmp_path / "run" / checkpoint.LAST)


class Calls(TorchDispatchMode):
    """Counts what torch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[str(function)] += 1
        return function(*args, **(kwargs or {}))


class Passive(Callback):
    """Listens to everything and does nothing."""

    def on_step_end(self, run: TrainingRun, loss: Tensor) -> None:
        pass

    def on_epoch_end(self, run: TrainingRun, record: Mapping[str, Any]) -> None:
        pass


@pytest.mark.parametrize("callbacks", [[Passive()], [Callback()], [EarlyStop(9)]], ids=["hooks", "none", "early stop"])
def test_a_step_asks_torch_for_nothing_more_where_a_callback_only_listens(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, callbacks: list[Callback]
) -> None:
    recipe, found = tiny(epochs=1), []
    for name, given in (("first", []), ("without", []), ("with", callbacks)):  # a first run makes what is kept
        model, calls = model_of(recipe), Calls()
        with calls:
            train(model, recipe, tmp_path / name, RunContext(device="cpu"), data=few_digits, callbacks=given)
        found.append(calls.found)
    assert found[1] == found[2]
    assert found[1]["aten._local_scalar_dense.default"] > 0  # it does see the host read


# on a GPU, by the stand-in that captures steps on the CPU


class Halves(Callback):
    """Writes a parameter in place after each step, and keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []

    @torch.no_grad()
    def on_step_end(self, run: TrainingRun, loss: Tensor) -> None:
        self.losses.append(loss.clone())
        next(run.model.parameters()).mul_(0.5)


@pytest.mark.slow
def test_captured_steps_stay_captured_with_a_step_hook_and_see_what_it_writes_in_place(
    tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(network="TFC_2W2A", train_size=70, epochs=3)
    graphs: list[Replay] = []
    monkeypatch.setattr("qtrain.training.setup.graphs_for", lambda model: graphs.append(Replay()) or graphs[-1])
    found = {}
    for name, captures, callbacks in (
        ("without", True, []),
        ("passive", True, [Passive()]),
        ("captured", True, [Halves()]),
        ("ordinary", False, [Halves()]),
    ):
        monkeypatch.setattr(Session, "captures", captures)
        train_recipe(recipe, tmp_path / name, RunContext(device="cpu"), callbacks=callbacks)
        found[name] = everything(tmp_path / name)
        if captures:
            assert graphs[-1].replays == graphs[0].replays > 0
        if name in ("captured", "ordinary"):
            found[f"losses {name}"] = torch.stack(callbacks[0].losses)
    assert found["passive"] == found["without"] != found["captured"]
    assert found["captured"] == found["ordinary"]
    assert torch.equal(found["losses captured"], found["losses ordinary"])


# ended by a callback


@pytest.mark.parametrize(("ends", "why"), [(Ends(epoch=2), "enough epochs"), (Ends(step=4), "enough steps")])
def test_a_callback_ends_the_run_after_its_epoch(
    tmp_path: Path, tiny: Callable[..., Recipe], ends: Ends, why: str
) -> None:
    said: list[str] = []
    out = tmp_path / "run"
    result = train_recipe(tiny(epochs=5), out, RunContext(say=said.append), callbacks=[ends])
    assert (result.epochs, result.stopped_by, result.why_stopped) == (2, "Ends", why)
    assert f"Ends ended the run after epoch 2: {why}" in said
    finished = read_finished(out)
    assert [epoch.epoch for epoch in finished.epochs] == [1, 2]
    assert finished.result == result
    assert resume_run(out) == result
    known = train_recipe(tiny(epochs=5), tmp_path / "whole")
    assert (known.epochs, known.stopped_by, known.why_stopped) == (5, None, None)
    records = zip(read_records(out)[1:-1], read_records(tmp_path / "whole")[1:3], strict=True)
    for ours, theirs in records:  # the epochs that it trained are those of the whole run
        assert (ours["loss"], ours["draws"]) == (theirs["loss"], theirs["draws"])


def test_an_early_stop_comes_when_the_best_epoch_is_so_many_epochs_ago(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    result = train_recipe(tiny(epochs=30, early_stop=2), tmp_path / "run")
    assert result.stopped_by == "EarlyStop"
    assert result.epochs == result.best_epoch + 2 < 30
    accuracies = [record["validation_accuracy"] for record in read_records(tmp_path / "run")[1:-1]]
    best = 0
    for i, accuracy in enumerate(accuracies):  # the rule, counted anew
        if accuracy > accuracies[best]:
            best = i
        assert (i - best == 2) == (i == len(accuracies) - 1)


def test_the_command_line_stops_early(tmp_path: Path, cli: Callable) -> None:
    small = ["--data=digits", "--width=0.125", "--train-size=60", "--validation-size=40", "--batch-size=20"]
    out = tmp_path / "run"
    ended = cli("train", "CNV_1W1A", *small, "--epochs=30", "--early-stop=1", "--lr=0.02", f"--out={out}")
    assert ended.status == 0
    result = read_finished(out).result
    assert result.epochs < 30
    assert f"EarlyStop ended the run after epoch {result.epochs}: no better validation accuracy since" in ended.out
    assert f"of {result.epochs}, best validation" in ended.out


# resumed


@pytest.mark.parametrize("stops", sampled([{1}, {3}, {2, 4, 5}, {6}], [{2, 4, 5}]))
def test_a_callbacks_state_survives_stops(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, stops: set[int]
) -> None:
    recipe, whole = tiny(epochs=EPOCHS), Diary()
    train(model_of(recipe), recipe, tmp_path / "whole", data=few_digits, callbacks=[whole])
    (pieces,) = in_pieces(recipe, tmp_path / "run", few_digits, stops, lambda: [Diary()])
    told = [line for line in pieces.told if not (line == "end" or line.startswith("begin"))]
    assert told == [line for line in whole.told if not line.startswith("begin")]
    assert sum(line.startswith("begin") for line in pieces.told) == len(stops) + 1
    assert all(torch.equal(a, b) for a, b in zip(pieces.losses, whole.losses, strict=True))


@pytest.mark.parametrize("stops", [{4, 6}, *(pytest.param(at, marks=pytest.mark.slow) for at in ({1}, {3}, {5}))])
@pytest.mark.parametrize("how", sampled(["step", "epoch", "early stop"], ["step"]))
def test_a_run_that_a_callback_ends_is_the_same_in_pieces(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, stops: set[int], how: str
) -> None:
    recipe = tiny(epochs=6, early_stop=1 if how == "early stop" else None)

    def make() -> list[Callback]:
        return {"step": [Ends(step=4)], "epoch": [Ends(epoch=2)]}.get(how, [])

    train(model_of(recipe), recipe, tmp_path / "whole", data=few_digits, callbacks=make())
    trained = read_finished(tmp_path / "whole").result.epochs * STEPS
    assert 2 * STEPS <= trained < 6 * STEPS
    in_pieces(recipe, tmp_path / "run", few_digits, stops, make)
    assert everything(tmp_path / "run") == everything(tmp_path / "whole")


def test_a_kill_between_the_last_checkpoint_and_the_result_trains_no_epoch_more(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet
) -> None:
    recipe, out = tiny(epochs=5), tmp_path / "run"
    train(model_of(recipe), recipe, out, data=few_digits, callbacks=[Ends(epoch=2)])
    expected = everything(out)
    kept = [json.dumps(record) + "\n" for record in read_records(out) if record["type"] != "result"]
    (out / RECORDS).write_text("".join(kept))
    train(model_of(recipe), recipe, out, data=few_digits, resume=True, callbacks=[Ends(epoch=2)])
    assert everything(out) == expected


def test_a_callback_that_the_checkpoint_knows_may_not_be_missing(
    tmp_path: Path, tiny: Callable[..., Recipe], cli: Callable
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train_recipe(tiny(), out, RunContext(stop=lambda: True), callbacks=[Diary()])
    said = "the run has a callback Diary, whose state is in its checkpoint; resume it from Python with"
    with pytest.raises(UserError, match=re.escape(said)):
        resume_run(out)
    refused = cli("train", "--resume", out)
    assert (refused.status, said in refused.err) == (2, True)
    resume_run(out, callbacks=[Diary(), Passive()])  # one more is no harm


# wrong


class Broken(Callback):
    """Raises an error in one hook."""

    def __init__(self, hook: str, error: Exception):
        self._hook, self._error = hook, error

    def _maybe(self, hook: str) -> None:
        if hook == self._hook:
            raise self._error

    def on_train_begin(self, run: TrainingRun) -> None:
        self._maybe("begin")

    def on_step_end(self, run: TrainingRun, loss: Tensor) -> None:
        self._maybe("step")

    def on_epoch_end(self, run: TrainingRun, record: Mapping[str, Any]) -> None:
        self._maybe("epoch")

    def on_train_end(self, run: TrainingRun, result: Result | None) -> None:
        self._maybe("end")

    def state_dict(self) -> dict[str, Any]:
        self._maybe("state")
        return {}


@pytest.mark.parametrize("hook", ["begin", "step", "epoch", "state", "end"])
def test_an_error_in_a_callback_names_it_and_the_line(tmp_path: Path, tiny: Callable[..., Recipe], hook: str) -> None:
    with pytest.raises(UserError) as error:
        train_recipe(tiny(epochs=1), tmp_path / "run", callbacks=[Broken(hook, KeyError("no such name"))])
    reason = r"\(KeyError: 'no such name'\); mend it or leave it out"
    line = rf"callback Broken failed in test_callbacks.py, line \d+ {reason}"
    assert re.fullmatch(line, str(error.value))
    assert isinstance(error.value.__cause__, KeyError)
    assert (tmp_path / "run").exists() == (hook == "end")


def test_a_users_error_in_a_callback_is_named_too(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    with pytest.raises(UserError, match=r"^callback Broken: the disk is full$"):
        train_recipe(tiny(epochs=1), tmp_path / "run", callbacks=[Broken("epoch", UserError("the disk is full"))])


def test_the_first_error_is_the_one_to_be_heard_of(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    with pytest.raises(Interrupted):
        train_recipe(
            tiny(), tmp_path / "run", RunContext(stop=lambda: True), callbacks=[Broken("end", ValueError("later"))]
        )


class Odd(Callback):
    """Returns and keeps what may not be."""

    def __init__(self, why: Any = None, state: Any = None):
        self._why, self._state = why, state

    def on_epoch_end(self, run: TrainingRun, record: Mapping[str, Any]) -> Any:
        return self._why

    def state_dict(self) -> dict[str, Any]:
        return {"value": self._state}


@pytest.mark.parametrize(
    ("callback", "says"),
    [
        (Odd(why=True), "callback Odd: a hook must return why the run is to end, as text, or None, but returned True"),
        (Odd(state={1, 2}), "callback Odd: its state_dict holds a set; a checkpoint takes tensors, numbers, text"),
        (Odd(state=[{"a": Path()}]), "callback Odd: its state_dict holds a PosixPath"),
        (Diary, "callbacks must be objects of qtrain.training.Callback's subclasses, but got Diary"),
        (print, "but got builtin_function_or_method"),
    ],
)
def test_what_is_no_callback_is_told_so(tmp_path: Path, tiny: Callable[..., Recipe], callback: Any, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        train_recipe(tiny(epochs=1), tmp_path / "run", callbacks=[callback])
    assert not (tmp_path / "run").exists()


class Writes(Callback):
    """Makes a folder in the run's and fails, as a logger may that cannot begin."""

    def on_train_begin(self, run: TrainingRun) -> None:
        (run.folder / "mine" / "deep").mkdir(parents=True)
        (run.folder / "mine" / "file").touch()
        raise ValueError("too early")


def test_a_run_that_fails_before_its_first_checkpoint_leaves_no_folder_of_a_folder(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    with pytest.raises(UserError, match="too early"):
        train_recipe(tiny(), tmp_path / "runs" / "a", callbacks=[Writes()])
    assert list(tmp_path.iterdir()) == []

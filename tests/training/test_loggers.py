"""Loggers: what each writes is what the records say, also of a run in pieces; one that fails ends no run."""

import csv
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtrain.data import DataSet
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.experiments.run import resume_run, train_recipe
from qtrain.recipe import Recipe
from qtrain.records.runs import read_records
from qtrain.training import Callback, Interrupted, RunContext, TrainingRun, train
from qtrain.training.loggers.csv_table import CsvTable
from qtrain.training.loggers.logger import LoggedRun, epoch_scalars
from qtrain.training.loggers.make import _is_installed, check_loggers, parse_loggers
from tests.checks import check_refusal, tree
from tests.conftest import absent
from tests.sampled import sampled
from tests.training.wandb_file import config, history, summary

SMALL = ["--data=digits", "--width=0.125", "--train-size=60", "--validation-size=40", "--batch-size=20", "--epochs=2"]


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    return [record for record in read_records(folder) if record["type"] == "epoch"]


def numbers_of(folder: Path) -> list[dict[str, float]]:
    """What of each epoch's record is a number, by hand: floats, the epoch, and each layer's rate."""
    found = []
    for record in epochs_of(folder):
        plain = {name: value for name, value in record.items() if isinstance(value, float) or name == "epoch"}
        found.append(plain | {f"draws/{layer}": rate for layer, rate in record["draws"].items()})
    return found


def table_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "epochs.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def stopped_at(step: int, log: tuple[str, ...], said: list[str] | None = None) -> RunContext:
    count = iter(range(1, 1000))
    return RunContext(stop=lambda: next(count) == step, log=log, say=(said if said is not None else []).append)


# TensorBoard and the table


@pytest.mark.parametrize(("log", "board", "table"), [(None, True, False), (("csv",), False, True), ((), False, False)])
def test_only_the_loggers_that_are_named_write(
    tmp_path: Path, tiny: Callable[..., Recipe], log: tuple[str, ...] | None, board: bool, table: bool
) -> None:
    context = RunContext() if log is None else RunContext(log=log)
    train_recipe(tiny(epochs=1), tmp_path / "run", context)
    assert bool(list((tmp_path / "run").glob("events.*"))) == board
    assert (tmp_path / "run" / "epochs.csv").exists() == table
    assert [record["type"] for record in read_records(tmp_path / "run")] == ["run", "epoch", "result"]


def test_the_table_has_a_row_an_epoch_with_all_its_numbers(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    train_recipe(tiny(epochs=3), tmp_path / "run", RunContext(log=("csv", "tensorboard")))
    assert table_of(tmp_path / "run") == numbers_of(tmp_path / "run")


@pytest.mark.parametrize("first", [("csv",), ("tensorboard",)])
@pytest.mark.parametrize("step", sampled([2, 4], [4]))
def test_the_table_of_a_resumed_run_has_each_epoch_once(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, first: tuple[str, ...], step: int
) -> None:
    recipe, out = tiny(epochs=3), tmp_path / "run"
    with pytest.raises(Interrupted):
        train(model_of(recipe), recipe, out, stopped_at(step, first), data=few_digits)
    train(model_of(recipe), recipe, out, RunContext(log=("csv",)), data=few_digits, resume=True)
    assert len(table_of(out)) == 3
    assert table_of(out) == numbers_of(out)


def test_a_number_that_comes_later_gets_a_column_and_the_rows_before_stay(tmp_path: Path) -> None:
    table = CsvTable()
    table.begin(LoggedRun(tmp_path, "a run", {}, [], print))
    records: list[dict[str, Any]] = [{"epoch": 1, "loss": 2.5, "counts": {}}]
    records.append({"epoch": 2, "loss": 1.5, "counts": {"skipped": 3}, "seed": 0, "scheduler": "aslr"})
    records.append({"epoch": 3, "loss": float("inf"), "counts": {"skipped": 4}})
    for record in records:
        table.epoch(record)
    expected = "epoch,loss,counts/skipped\n1,2.5,\n2,1.5,3\n3,,4\n"
    assert (tmp_path / "epochs.csv").read_text() == expected


def test_numbers_are_those_that_are_finite() -> None:
    record = {"epoch": 2, "lr": 0.5, "flag": True, "loss": float("nan"), "draws": {"fc": 0.25, "x": float("inf")}}
    assert epoch_scalars(record | {"seed": 3, "protocol": "holdout"}) == {"epoch": 2, "lr": 0.5, "draws/fc": 0.25}


# names and packages


@pytest.mark.parametrize(
    ("text", "names"), [("csv", ("csv",)), (" csv, wandb ", ("csv", "wandb")), ("none", ()), (" none", ())]
)
def test_names_are_read_as_people_write_them(text: str, names: tuple[str, ...]) -> None:
    assert parse_loggers(text) == names


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("tensorbord", "a logger must be one of tensorboard, csv, wandb, mlflow, but got 'tensorbord'"),
        ("csv,", "but got ''"),
        ("csv,none", "but got 'none'"),
        ("csv,csv", "logger csv is named twice; name it once"),
    ],
)
def test_a_wrong_name_is_one_line_and_writes_nothing(tmp_path: Path, cli: Callable, given: str, says: str) -> None:
    out = tmp_path / "run"
    check_refusal(cli("train", "CNV_1W1A", *SMALL, f"--out={out}", f"--log={given}"), 2, says)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, cli: Callable, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qtrain.training.loggers.make.find_spec", lambda _: None)
    said = cli("train", "CNV_1W1A", *SMALL, f"--out={tmp_path / 'run'}", f"--log=csv,{name}")
    check_refusal(said, 2, f"logger {name} needs {name}, which is not installed; pip install", f"[{name}]")
    with pytest.raises(UserError, match=f"logger {name} needs {name}"):
        train_recipe(Recipe("CNV_1W1A", "digits"), tmp_path / "run", RunContext(log=(name,)))
    assert tree(tmp_path) == {}


def test_a_folder_that_a_logger_has_written_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hollow" / "offline-run-1").mkdir(parents=True)
    (tmp_path / "real.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("hollow") is not None
    assert not _is_installed("hollow")
    assert _is_installed("real")


def test_what_is_built_in_needs_no_package() -> None:
    check_loggers(("tensorboard", "csv"))


def test_a_resumed_run_may_have_other_loggers(tmp_path: Path, tiny: Callable[..., Recipe], cli: Callable) -> None:
    with pytest.raises(Interrupted):
        train_recipe(tiny(), tmp_path / "run", stopped_at(4, ()))
    assert cli("train", "--resume", tmp_path / "run", "--log=csv").status == 0
    assert [row["epoch"] for row in table_of(tmp_path / "run")] == [1, 2]


# failing


class InTheWay(Callback):
    """Puts a folder where the table is to be."""

    def on_train_begin(self, run: TrainingRun) -> None:
        (run.folder / "epochs.csv").mkdir()


def test_a_logger_that_fails_is_left_out_and_the_run_goes_on(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    said: list[str] = []
    out = tmp_path / "run"
    context = RunContext(log=("csv", "tensorboard"), say=said.append)
    result = train_recipe(tiny(epochs=2), out, context, callbacks=[InTheWay()])
    assert result.epochs == 2
    assert len(epochs_of(out)) == 2
    (line,) = (line for line in said if "logger" in line)
    assert line.startswith("logger csv failed (")
    assert line.endswith("and is told nothing more; records.jsonl has all of it")
    assert list(out.glob("events.*"))


# W&B


@pytest.fixture
def wandb_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """See that W&B is here, which then needs no network."""
    if not _is_installed("wandb"):
        absent("wandb", "pip install -e '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)


def parts_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)


@pytest.mark.usefixtures("wandb_offline")
def test_wandb_has_recipe_epochs_and_result(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    said: list[str] = []
    out, recipe = tmp_path / "run", tiny(epochs=3)
    result = train_recipe(recipe, out, RunContext(log=("wandb",), say=said.append))
    (path,) = parts_of(out)
    assert history(path) == numbers_of(out)
    assert config(path).items() >= json.loads(json.dumps(recipe.to_dict())).items()
    found = summary(path)
    assert found["test_accuracy"] == result.test_accuracy
    assert found["best_validation_accuracy"] == result.validation_accuracy
    assert [line for line in said if line.startswith("wandb: ")] == [f"wandb: {path.parent / 'files'}"]


@pytest.mark.usefixtures("wandb_offline")
def test_a_resumed_run_is_the_same_run_of_wandbs(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train_recipe(tiny(epochs=3), out, stopped_at(4, ("wandb",)))
    resume_run(out, RunContext(log=("wandb",)))
    first, second = parts_of(out)
    assert first.name == second.name  # it has the run's identity
    assert history(first) + history(second) == numbers_of(out)


@pytest.mark.usefixtures("wandb_offline")
def test_a_run_that_wandb_refuses_leaves_nothing(
    tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "no/such:name")
    with pytest.raises(UserError, match=r"logger wandb cannot begin \(.*\); log in by wandb login, or set WANDB_MODE"):
        train_recipe(tiny(), tmp_path / "run", RunContext(log=("csv", "wandb")))
    assert not (tmp_path / "run").exists()


# MLflow


@pytest.fixture
def mlflow_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client of a database in a folder of the test's."""
    if not _is_installed("mlflow"):
        absent("mlflow", "pip install -e '.[mlflow]'")
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    from mlflow.tracking import MlflowClient

    return MlflowClient(address)


def runs_of(client: Any, experiment: str = "qtrain") -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def curves_of(client: Any, run: Any) -> dict[str, list[tuple[int, float]]]:
    def curve(name: str) -> list[tuple[int, float]]:
        return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]

    return {name: sorted(curve(name)) for name in run.data.metrics}


def curves(rows: list[dict[str, float]]) -> dict[str, list[tuple[int, float]]]:
    names = [name for name in rows[0] if name != "epoch"]
    return {name: [(int(row["epoch"]), row[name]) for row in rows] for name in names}


def test_mlflow_has_recipe_epochs_and_result(tmp_path: Path, tiny: Callable[..., Recipe], mlflow_client: Any) -> None:
    out, recipe = tmp_path / "run", tiny(epochs=3)
    result = train_recipe(recipe, out, RunContext(log=("mlflow",)))
    (run,) = runs_of(mlflow_client)
    found = curves_of(mlflow_client, run)
    assert found.pop("test_accuracy") == [(3, result.test_accuracy)]
    assert found.pop("best_validation_accuracy") == [(3, result.validation_accuracy)]
    assert found.pop("best_epoch") == [(3, result.best_epoch)]
    assert found.pop("test_loss") == [(3, read_records(out)[-1]["test_loss"])]
    assert found == curves(numbers_of(out))
    assert run.data.params == {name: str(value) for name, value in recipe.to_dict().items()}
    assert run.info.status == "FINISHED"
    assert not list(out.glob("events.*"))


def test_a_resumed_run_is_the_same_run_of_mlflows(
    tmp_path: Path, tiny: Callable[..., Recipe], mlflow_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train_recipe(tiny(epochs=3), out, stopped_at(4, ("mlflow",)))
    (run,) = runs_of(mlflow_client, "mine")
    assert run.info.status == "KILLED"
    resume_run(out, RunContext(log=("mlflow",)))
    train_recipe(tiny(epochs=1, seed=1), tmp_path / "other", RunContext(log=("mlflow",)))
    other, same = runs_of(mlflow_client, "mine")
    assert same.info.run_id == run.info.run_id
    assert other.info.run_id != run.info.run_id
    assert same.info.status == "FINISHED"
    found = curves_of(mlflow_client, same)
    assert curves(numbers_of(out)).items() <= found.items()


def test_an_address_that_mlflow_does_not_know_is_one_line_and_leaves_nothing(
    tmp_path: Path, tiny: Callable[..., Recipe], mlflow_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://here")
    with pytest.raises(UserError, match=r"^logger mlflow cannot begin \(.*\); see MLFLOW_TRACKING_URI"):
        train_recipe(tiny(), tmp_path / "run", RunContext(log=("mlflow",)))
    assert not (tmp_path / "run").exists()

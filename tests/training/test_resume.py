"""A run that is stopped or killed at any moment and resumed ends as the uninterrupted run does, bit for bit."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qtrain.data import DataSet
from qtrain.experiments.model import model_of
from qtrain.experiments.run import train_recipe
from qtrain.experiments.teacher import read_teacher
from qtrain.recipe import Recipe, dump_recipe
from qtrain.records.runs import RECORDS, read_records
from qtrain.schedulers.catalogue import SCHEDULERS
from qtrain.training import Interrupted, checkpoint, train
from qtrain.training.context import RunContext

ROOT = Path(__file__).parents[2]
STEPS, EPOCHS = 3, 2  # of the tiny recipe
CLOCK = {"seconds", "images_per_second", "date", "resumed"}


def plain(value: Any) -> Any:
    """Tensors as their bytes and no times, nor how often it was resumed, so that == compares bit for bit."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items() if key not in CLOCK}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def everything(folder: Path) -> dict[str, Any]:
    """What a finished run left, times aside: weights, optimizer, ASLR and random state, records, result."""
    states = {name: plain(checkpoint.load(folder / name)) for name in (checkpoint.LAST, checkpoint.BEST)}
    return {**states, "records": [plain(r) for r in read_records(folder)]}


def in_pieces(recipe: Recipe, out: Path, data: DataSet, stops: Iterable[int]) -> None:
    """Train ``recipe``, stopping after each of these steps (counted from 1 over the whole run) and resuming."""
    left, done = sorted(stops), 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done in left

    def go_on(resume: bool) -> None:
        options: dict[str, Any] = {"data": data, "resume": resume, "built": True, "teacher": read_teacher(recipe)}
        train(model_of(recipe), recipe, out, RunContext(stop=stop), **options)

    for number in range(len(left)):
        with pytest.raises(Interrupted):
            go_on(resume=number > 0)
        torch.manual_seed(done)  # what another process would start with
    go_on(resume=bool(left))


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe], few_digits: DataSet
) -> Callable[[str, str], tuple[Recipe, dict[str, Any]]]:
    """Return a function that trains without interruption, once for each schedule and optimizer."""
    known: dict[tuple[str, str], tuple[Recipe, dict[str, Any]]] = {}

    def trained(scheduler: str, optimizer: str) -> tuple[Recipe, dict[str, Any]]:
        if (scheduler, optimizer) not in known:
            lr = 0.05 if optimizer == "sgd" else 0.02
            recipe = tiny(scheduler=scheduler, optimizer=optimizer, epochs=EPOCHS, lr=lr, milestones=[0.5], seed=2)
            out = tmp_path_factory.mktemp("whole") / "run"
            train(model_of(recipe), recipe, out, data=few_digits, built=True)
            known[scheduler, optimizer] = recipe, everything(out)
        return known[scheduler, optimizer]

    return trained


QUICK = ("aslr_decay", "plateau", "l4adam", "armijo", "schedulefree", "prodigy")


def slowly(*values: object) -> object:
    """Return a case of the slow tests."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("scheduler", "optimizer", "stops"),
    [
        *[(s, o, {1, 3, 4, 6}) for s in ("aslr", "multistep") for o in ("sgd", "adam")],
        *[slowly(s, o, {at}) for s, o in (("aslr", "adam"), ("multistep", "sgd")) for at in (1, STEPS, STEPS * EPOCHS)],
        *[(s, "adam", {2, 5}) for s in QUICK],
        *[slowly(s, "adam", {2, 5}) for s in SCHEDULERS.built_in if s not in ("aslr", "multistep", *QUICK)],
        *[slowly(s, "adam", {STEPS * EPOCHS}) for s in ("aslr_decay", "aslr_average", "wsd", "plateau")],
        *[slowly(s, "nag", {5}) for s in ("aslr_decay", "schedulefree", "dadaptation", "transition")],
    ],
)
def test_a_run_stopped_and_resumed_is_the_uninterrupted_run(
    tmp_path: Path, few_digits: DataSet, whole: Callable, scheduler: str, optimizer: str, stops: set[int]
) -> None:
    recipe, expected = whole(scheduler, optimizer)
    in_pieces(recipe, tmp_path / "run", few_digits, stops)
    assert everything(tmp_path / "run") == expected


@pytest.mark.parametrize("scheduler", ["aslr", "aslr_decay"])
def test_a_warm_up_goes_on_where_it_was_stopped(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, scheduler: str
) -> None:
    recipe = tiny(scheduler=scheduler, scheduler_options={"warmup_steps": 4}, epochs=EPOCHS)
    train(model_of(recipe), recipe, tmp_path / "whole", data=few_digits)
    in_pieces(recipe, tmp_path / "run", few_digits, {1, 3, 4})
    assert everything(tmp_path / "run") == everything(tmp_path / "whole")
    first, second = [record for record in read_records(tmp_path / "run") if record["type"] == "epoch"]
    assert (first["lr"], second["lr"]) == (recipe.rate / 4, recipe.rate)


AIDS: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw", "weight_decay": 0.01},
    "smoothing": {"label_smoothing": 0.1},
    "mixup": {"mixup": 0.3},
    "average": {"ema": 0.9},
    "teacher": {"teacher": "wide"},
    "all": {"optimizer": "adamw", "label_smoothing": 0.1, "mixup": 0.3, "ema": 0.9, "teacher": "wide"},
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe], few_digits: DataSet) -> Path:
    """Return the folder of a run to learn from."""
    folder = tmp_path_factory.mktemp("teacher") / "wide"
    recipe = tiny(network="CNV_FLOAT", width=0.25, epochs=1)
    train(model_of(recipe), recipe, folder, data=few_digits, built=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("aid", AIDS)
def test_a_run_with_training_aids_may_be_stopped_behind_every_step(
    aid: str, tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, wide: Path
) -> None:
    changes = AIDS[aid] | ({"teacher": str(wide)} if "teacher" in AIDS[aid] else {})
    recipe = tiny(scheduler="aslr", epochs=EPOCHS, seed=2, **changes)
    in_pieces(recipe, tmp_path / "whole", few_digits, ())
    expected = everything(tmp_path / "whole")
    in_pieces(recipe, tmp_path / "run", few_digits, range(1, STEPS * EPOCHS + 1))
    assert everything(tmp_path / "run") == expected
    plain = recipe.replace(**{name: tiny().to_dict()[name] for name in changes})
    in_pieces(plain, tmp_path / "plain", few_digits, ())
    assert everything(tmp_path / "plain")["best.pt"]["model"] != expected["best.pt"]["model"]  # it does something


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example({2, 4})
@given(st.sets(st.integers(1, STEPS * EPOCHS), max_size=3))
def test_any_set_of_stops_leaves_the_run_what_it_is(
    tmp_path_factory: pytest.TempPathFactory, few_digits: DataSet, whole: Callable, stops: set[int]
) -> None:
    recipe, expected = whole("aslr", "sgd")
    out = tmp_path_factory.mktemp("pieces") / "run"
    in_pieces(recipe, out, few_digits, stops)
    assert everything(out) == expected
    shutil.rmtree(out)


def test_the_comparison_sees_one_flipped_bit(whole: Callable) -> None:
    weight = torch.ones(3)
    other = weight.clone()
    other.view(torch.int32)[1] ^= 1
    assert plain({"w": weight, "seconds": 1}) == plain({"w": weight, "seconds": 2})
    assert plain({"w": weight}) != plain({"w": other})


@pytest.fixture
def half_way(tmp_path: Path, few_digits: DataSet, whole: Callable) -> tuple[Path, Recipe, dict[str, Any]]:
    """Return a run stopped in its second epoch, with what it shall become."""
    recipe, expected = whole("aslr", "adam")
    count = iter(range(1, 100))
    with pytest.raises(Interrupted):
        train(
            model_of(recipe),
            recipe,
            tmp_path / "run",
            data=few_digits,
            context=RunContext(stop=lambda: next(count) == STEPS + 1),
        )
    return tmp_path / "run", recipe, expected


@pytest.mark.parametrize("tail", ["epoch", "result", "half a line", "epoch and result"])
def test_records_the_checkpoint_does_not_know_are_not_kept_twice(
    half_way: tuple[Path, Recipe, dict[str, Any]], few_digits: DataSet, tail: str
) -> None:
    """What a kill between a record and its checkpoint leaves on disk."""
    folder, recipe, expected = half_way
    text = "".join(json.dumps(r) + "\n" for r in expected["records"] if r.get("epoch") == 2 and "epoch" in tail)
    if tail == "half a line":
        text = json.dumps(expected["records"][2])[:50]
    assert (text == "") == (tail == "result")
    with (folder / RECORDS).open("a") as file:
        file.write(text)
    train(model_of(recipe), recipe, folder, data=few_digits, resume=True)
    assert everything(folder) == expected


def test_a_kill_between_the_first_record_and_the_first_checkpoint_starts_again(
    half_way: tuple[Path, Recipe, dict[str, Any]], few_digits: DataSet
) -> None:
    folder, recipe, expected = half_way
    (folder / checkpoint.LAST).unlink()  # records and best.pt know of epoch 1
    train(model_of(recipe), recipe, folder, data=few_digits, resume=True)
    assert everything(folder) == expected


@pytest.mark.parametrize("kept", [["recipe.yaml"], ["recipe.yaml", RECORDS]])
def test_a_kill_before_the_first_checkpoint_starts_again(
    half_way: tuple[Path, Recipe, dict[str, Any]], few_digits: DataSet, kept: list[str]
) -> None:
    folder, recipe, expected = half_way
    run_line = (folder / RECORDS).read_text().splitlines(keepends=True)[0]
    (folder / RECORDS).write_text(run_line)
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    train(model_of(recipe), recipe, folder, data=few_digits, resume=True)
    assert everything(folder) == expected


def test_a_kill_while_the_first_steps_checkpoint_is_known_and_a_record_is_not_gives_no_second_line(
    tmp_path: Path, few_digits: DataSet, whole: Callable
) -> None:
    recipe, expected = whole("aslr", "adam")
    with pytest.raises(Interrupted):
        train(model_of(recipe), recipe, tmp_path / "run", data=few_digits, context=RunContext(stop=lambda: True))
    with (tmp_path / "run" / RECORDS).open("a") as file:  # resumed, epoch 1 recorded, killed before its checkpoint
        file.write(json.dumps(expected["records"][1]) + "\n")
    train(model_of(recipe), recipe, tmp_path / "run", data=few_digits, resume=True)
    assert everything(tmp_path / "run") == expected


def start(words: list[str], cwd: Path) -> subprocess.Popen[str]:
    """A qtrain command as a process of its own, with as many threads as this one."""
    threads = str(torch.get_num_threads())
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", "from qtrain.cli import main; main()", *words],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


def lines(folder: Path) -> int:
    return (folder / RECORDS).read_text().count("\n") if (folder / RECORDS).exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("network", ["CNV_1W1A", "VGG11_2W2A"])
def test_a_process_killed_then_interrupted_resumes_to_the_same_weights(
    network: str, tmp_path: Path, tiny: Callable[..., Recipe], cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(network=network, epochs=10)  # some seconds after its first epoch
    train_recipe(recipe, tmp_path / "whole")
    run = tmp_path / "run"
    (tmp_path / "mine.yaml").write_text(dump_recipe(recipe))
    process = start(["train", "--config", "mine.yaml", "--out", "run"], tmp_path)
    wait_for(process, lambda: lines(run) >= 2)  # the run's line and an epoch's
    process.kill()
    process.communicate()
    process = start(["train", "--resume", "run"], tmp_path)
    wait_for(process, lambda: lines(run) >= 5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.startswith("qtrain: stopped in epoch ")
    said, _, again = err.partition("; go on with: ")
    assert said.endswith("saved in run")
    assert again == "qtrain train --resume run\n"
    assert err.count("\n") == 1
    assert not list(run.glob("*.partial"))
    monkeypatch.chdir(tmp_path)
    outcome = cli(*shlex.split(again)[1:])
    assert (outcome.status, outcome.err) == (0, "")
    assert everything(run) == everything(tmp_path / "whole")

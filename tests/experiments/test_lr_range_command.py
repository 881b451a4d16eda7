"""The learning-rate range test as a command, and as ``--lr auto`` of a run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from qtrain.errors import UserError
from qtrain.experiments import lr_range
from qtrain.experiments.comparison.compare import check_comparison
from qtrain.experiments.lr_range import resolve_lr
from qtrain.experiments.model import model_of
from qtrain.experiments.one_rate import fixed_rate
from qtrain.experiments.run import train_recipe
from qtrain.recipe import Recipe
from qtrain.schedulers.catalogue import SCHEDULERS
from qtrain.training.captured.repeated import WARM_UP
from qtrain.training.captured.step import StaticStep
from qtrain.training.context import RunContext
from qtrain.training.methods.make import make_method
from qtrain.training.session import Session
from tests.checks import check_refusal, same
from tests.replay import Replay

SMALL = ["--data=digits", "--width=0.125", "--train-size=60", "--validation-size=40", "--batch-size=20"]
EASY = {"train_size": 200, "validation_size": 100, "augment": False, "width": 0.125}


@pytest.fixture(scope="module")
def auto_run(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]) -> tuple[Path, list[str]]:
    """Return the folder of a run with lr auto, and what was said."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("auto") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lr_range, "FEWEST_STEPS", 120)  # time
        train_recipe(tiny(lr="auto", epochs=1, **EASY), out, context=RunContext(say=said.append))
    return out, said


def test_lr_auto_trains_with_a_number_and_records_what_it_cost(auto_run: tuple[Path, list[str]]) -> None:
    out, said = auto_run
    lr = yaml.safe_load((out / "recipe.yaml").read_text())["lr"]
    run, epoch, _ = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    found = run["lr_range"]
    assert isinstance(lr, float)
    assert lr == run["recipe"]["lr"] == epoch["lr"] == found["suggestion"]
    assert found["window"][0] <= lr <= found["window"][1]
    assert 0 < found["steps"] <= 120
    assert found["seconds"] > 0
    assert len(said) == 1
    assert f"lr {lr:g} from the range test ({found['steps']} steps" in said[0]


def test_the_range_test_changes_no_weight_of_the_run(
    auto_run: tuple[Path, list[str]], tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    lr = yaml.safe_load((auto_run[0] / "recipe.yaml").read_text())["lr"]
    train_recipe(tiny(lr=lr, epochs=1, **EASY), tmp_path / "plain")
    kept = [torch.load(folder / "best.pt", weights_only=True)["model"] for folder in (auto_run[0], tmp_path / "plain")]
    assert same(kept[0], kept[1])


def test_resolve_lr_refuses_a_number(tiny: Callable[..., Recipe]) -> None:
    with pytest.raises(UserError, match=r"lr is 0\.02 already"):
        resolve_lr(tiny())


@pytest.mark.slow
def test_command_prints_window_suggestion_and_cost_and_draws_the_curve(cli: Any, tmp_path: Path) -> None:
    figure = tmp_path / "new" / "curve.png"
    easy = ["--data=digits", "--width=0.125", "--train-size=200", "--validation-size=100", "--batch-size=20"]
    words = ["lr-range", "CNV_1W1A", *easy, "--augment=false", "--optimizer=adam", "--steps=100", "--every=4"]
    outcome = cli(*words, "--out", figure)
    assert outcome.status == 0, outcome
    for text in ("usable learning rates: 0.", "suggestion: 0.", "cost: 100 steps, ", f"{figure}: the curve"):
        assert text in outcome.out
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert len(figure.read_bytes()) > 10_000
    assert [p.name for p in tmp_path.rglob("*")] == ["new", "curve.png"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--high=-1"], "--high -1"),
        (["--high=fast"], "high must be a number, but got 'fast'"),
        (["--low=0.2", "--high=0.1"], "but got --low 0.2 and --high 0.1"),
        (["--steps=1.5"], "steps must be a whole number, but got '1.5'"),
        (["--steps=5"], "give 8 or more"),
        (["--steps=80", "--every=40"], "give 320 or more"),
        (["--out=curve.txt"], "--out must name a file that ends in .png, .svg, .pdf, but got curve.txt"),
        (["--out=."], "--out must name a file"),
        (["--lr=quick"], "lr must be a number or auto, but got 'quick'"),
        (["--steps=9", "--every=1", "--low=1e-9", "--high=2e-9"], "no usable learning rate from 1e-09 to 2e-09"),
    ],
)
def test_wrong_inputs_are_one_line_and_leave_nothing(
    extra: list[str], message: str, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli("lr-range", "CNV_1W1A", *SMALL, *extra)
    assert outcome.status == 2
    line = outcome.err.rpartition("\r")[2]
    assert line.startswith("qtrain: ")
    assert line.count("\n") == 1
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheduler", SCHEDULERS.built_in)
def test_the_schedulers_that_read_no_rate_are_known(scheduler: str, tiny: Callable[..., Recipe]) -> None:
    def numbers(lr: float) -> list[dict[str, Any]]:
        recipe = tiny(scheduler=scheduler, lr=lr)
        method = make_method(model_of(recipe), recipe, 3)
        method.before_step(1.0)
        return [{k: v for k, v in group.items() if k != "params"} for group in method.optimizer.param_groups]

    assert (numbers(0.01) == numbers(0.02)) == (not SCHEDULERS.get(scheduler).reads_lr)


def test_lr_auto_is_refused_where_nobody_reads_the_rate(cli: Any, tmp_path: Path) -> None:
    out = ["--lr=auto", "--out", tmp_path / "out"]
    says = "lr is auto, but {} would not read the rate that is found; leave --lr out"
    check_refusal(cli("train", "CNV_1W1A", *SMALL, "--scheduler=prodigy", *out), 2, says.format("prodigy"))
    words = ["compare", "CNV_1W1A", *SMALL, "--schedulers=armijo,l4adam", "--challenger=armijo", *out]
    check_refusal(cli(*words), 2, says.format("armijo, l4adam"))
    assert list(tmp_path.iterdir()) == []


def test_lr_auto_of_a_comparison_needs_one_scheduler_that_reads_it(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tiny(lr="auto", scheduler="prodigy")
    check_comparison(recipe, tmp_path, schedulers=["prodigy", "aslr"], seeds=1, tolerance=1, challenger="aslr")
    with pytest.raises(UserError, match="dog, prodigy would not read"):
        check_comparison(recipe, tmp_path, schedulers=["dog", "prodigy"], seeds=1, tolerance=1, challenger="dog")


def test_one_rate_is_asked_for_whatever_scheduler_the_recipe_names(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lr_range, "HIGHEST", {"adam": 1e-9})
    monkeypatch.setattr(lr_range, "FEWEST_STEPS", 16)  # time
    with pytest.raises(UserError, match="no usable learning rate"):
        fixed_rate(tiny(lr="auto", scheduler="prodigy"), tmp_path)


def test_train_takes_lr_auto_and_leaves_nothing_where_there_is_no_window(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lr_range, "HIGHEST", {"adam": 1e-9})
    monkeypatch.setattr(lr_range, "FEWEST_STEPS", 16)  # time
    outcome = cli("train", "CNV_1W1A", *SMALL, "--lr=auto", "--optimizer=adam", "--out", tmp_path / "run")
    assert outcome.status == 2
    assert "no usable learning rate" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_the_range_test_steps_as_training_does_on_a_gpu(
    precision: str, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured, and with TF32 only where training has it."""
    recipe = tiny(network="TFC_1W1A", precision=precision, lr="auto", **EASY)
    found, allowed, cuda = [], set(), Replay()
    step = StaticStep._kernels

    def noting(*args: Any, **options: Any) -> torch.Tensor:
        allowed.add(torch.backends.cuda.matmul.allow_tf32)
        return step(*args, **options)

    monkeypatch.setattr(StaticStep, "_kernels", noting)
    for stand_in, captures in ((cuda, True), (Replay(), False)):
        monkeypatch.setattr(lr_range, "graphs_for", lambda model, stand_in=stand_in: stand_in)
        monkeypatch.setattr(Session, "captures", captures)
        found.append(lr_range.find_lr(recipe, steps=48, every=6, high=0.1).found)
    assert found[0] == found[1]
    assert cuda.captures == 1
    assert cuda.replays == 48 - WARM_UP
    assert allowed == {precision == "fast"}

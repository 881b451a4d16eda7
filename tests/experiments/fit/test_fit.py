"""A fit as a whole, with the real compiler: stopped anywhere it goes on, and its winner holds its proof."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtrain.engines.processes import SideBySide
from qtrain.errors import UserError
from qtrain.experiments.fit import compiled
from qtrain.experiments.fit.base import Projecting
from qtrain.experiments.fit.candidates import from_choice
from qtrain.experiments.fit.choose import Choice
from qtrain.experiments.fit.plan import FitPlan, plan_fit
from qtrain.experiments.fit.rounds import fit, resume_fit
from qtrain.experiments.fit.winner import best_of
from qtrain.experiments.sensitivity import measure as sensitivity
from qtrain.export import verify
from qtrain.export.folder.contents import FOLDING
from qtrain.interrupt import Interrupted
from qtrain.recipe import Recipe
from qtrain.records.fit import Candidate, CandidatesFile, CompiledFile, SensitivityFile
from qtrain.report.fit.page import print_fit, write_fit_report
from qtrain.training.context import RunContext
from qtrain.training.progress import Silent


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "FITTED", 4)
    monkeypatch.setattr(compiled, "HELD_OUT", 1)
    monkeypatch.setattr(sensitivity, "NORM_IMAGES", 40)


@pytest.fixture
def plan(tiny: Callable[..., Recipe]) -> Callable[..., FitPlan]:
    def make(**changes: Any) -> FitPlan:
        given: dict[str, Any] = {"limits": {"max_lut": "1500"}, "rounds": 1, "at_once": 2, "widths": (2, 8), **changes}
        recipe = tiny(network="TFC_8W8A", epochs=given.pop("epochs", 1))
        return plan_fit(recipe, "Pynq-Z2", given.pop("min_fps", 1000), **given)

    return make


def candidate(name: str, accuracy: float | None, lut: int, fps: float = 2000.0, **changes: Any) -> Candidate:
    choice = Choice({"fc1": 8}, {"fc1": (1, 1)}, 0.1, {"LUT": float(lut)}, 1500.0, True)
    known = {"name": name, "state": "done", "validation_accuracy": accuracy, "test_accuracy": accuracy, "fps": fps}
    used = {"LUT": lut, "BRAM_18K": 10, "URAM": 0, "DSP": 0}
    return Candidate(**{**vars(from_choice(choice, 1, 1)), **known, "used": used, **changes})


def test_the_winner_is_the_most_accurate_that_fits(plan: Callable[..., FitPlan]) -> None:
    fast, small = candidate("fast", 90.0, 1400), candidate("small", 90.0, 1200)
    large, slow = candidate("large", 99.0, 1600), candidate("slow", 98.0, 1000, fps=900.0)
    assert best_of(plan(), (large, slow, fast, small)) == small  # of equals the smallest
    with pytest.raises(UserError, match=r"none of 2 trained networks fits .* large needs 1,600 LUT of 1,500"):
        best_of(plan(), (large, candidate("slower", 98.0, 1000, fps=100.0)))
    with pytest.raises(UserError, match=r"no network that fits reaches 95 % .* small, has 90\.00 %"):
        best_of(plan(min_accuracy=95.0), (large, small))
    failed = candidate("failed", None, 0, state="failed", error="train: the loss is nan", used=None)
    with pytest.raises(UserError, match="no candidate came to its end: train: the loss is nan"):
        best_of(plan(), (failed,))


def test_a_training_that_takes_too_long_is_known_after_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("qtrain.experiments.fit.base.time.monotonic", lambda: now[0])
    watch = Projecting(Silent(), 100.0, lambda: False)
    watch.start("", 10, 0)
    now[0] = 30.0
    watch.epoch({"epoch": 1}, 3)
    assert not watch.stop()
    assert watch.seconds == 90.0
    watch.epoch({"epoch": 1}, 7)
    assert watch.stop()


@pytest.mark.usefixtures("few")
def test_a_fit_stopped_anywhere_goes_on_and_its_winner_is_proven(
    finn_plus: str, plan: Callable[..., FitPlan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    stops = 0
    for last in (1, 5, 9, 14, 15):  # in the training, between quantizers, between questions, between candidates
        left = [last]

        def stop(left: list[int] = left) -> bool:
            left[0] -= 1
            return left[0] < 0

        try:
            fit(plan(), out, RunContext(stop=stop))
        except Interrupted:
            stops += 1
    assert stops >= 4
    winner = resume_fit(out, RunContext())
    found = CandidatesFile.read(out)
    assert found.winner == winner.name
    assert {one.state for one in found.candidates} == {"done"}
    assert len([one for one in found.candidates if one.round == 1]) == 2
    assert winner.used is not None
    assert winner.used["LUT"] <= 1500
    assert (winner.fps or 0) >= 1000
    asked = [one.name for one in CompiledFile.read(out).networks]
    assert len([name for name in asked if name.startswith("probe")]) == 5
    assert {"round1-1 before training, 1", "round1-2 before training, 1"} <= {*asked}
    assert len(SensitivityFile.read(out).entries) == 7
    proof = verify(out / "finn")
    assert proof.images == proof.equal
    folding = json.loads((out / "finn" / FOLDING).read_text())
    assert any(name.startswith("MVAU") for name in folding)
    page = write_fit_report(out).read_text()
    assert f"{winner.name} ★" in page
    print_fit(out)
    assert f"{winner.validation_accuracy:.2f} % of the validation images" in capsys.readouterr().out
    again = fit(plan(), out, RunContext())  # the same command again changes nothing
    assert again == winner
    assert CandidatesFile.read(out).candidates == found.candidates


@pytest.mark.usefixtures("few")
def test_limits_that_nothing_meets_name_the_nearest_misses(
    finn_plus: str, plan: Callable[..., FitPlan], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        fit(plan(limits={"max_lut": "500"}), tmp_path / "out")
    said = str(refused.value)
    assert "no network fits Pynq-Z2 at 1,000 frames/s within the limits; the nearest: " in said
    assert " LUT of 500 (2" in said
    assert "by the compiler" in said


@pytest.mark.slow
def test_a_time_that_is_shorter_than_one_training_is_refused(plan: Callable[..., FitPlan], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shorter than one training: TFC_8W8A takes .* h for 400 epochs"):
        fit(plan(epochs=400, hours=0.0005), tmp_path / "out")


@pytest.mark.usefixtures("few")
def test_candidates_train_side_by_side_from_a_run_that_is_there(
    finn_plus: str, plan: Callable[..., FitPlan], tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    from qtrain.experiments.run import train_recipe

    run = tmp_path / "run"
    train_recipe(tiny(network="TFC_8W8A", epochs=1), run)
    before = sorted(path.name for path in run.iterdir())
    winner = fit(plan(run=str(run)), tmp_path / "out", engine=SideBySide(2))
    assert winner.state == "done"
    assert not (tmp_path / "out" / "base").exists()
    assert sorted(path.name for path in run.iterdir()) == before


@pytest.mark.usefixtures("few")
def test_candidates_train_on_ray(finn_plus: str, plan: Callable[..., FitPlan], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from qtrain.engines.ray import OnRay

    engine = OnRay()
    with engine.connected():
        winner = fit(plan(), tmp_path / "out", engine=engine)
    assert winner.used is not None
    assert winner.used["LUT"] <= 1500
    assert [one.state for one in CandidatesFile.read(tmp_path / "out").candidates if one.round] == ["done", "done"]
    proof = verify(tmp_path / "out" / "finn")
    assert proof.images == proof.equal

"""Comparisons: what is trained, what is kept, and that the exit status is the verdict's."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.data import load_data
from qtrain.errors import UserError
from qtrain.experiments import Comparison, compare
from qtrain.experiments.cells import Cell, cells_of
from qtrain.experiments.comparison.compare import default_challenger, export_cells, parse_tuning
from qtrain.experiments.model import model_of
from qtrain.experiments.run import train_recipe
from qtrain.export import ProofError
from qtrain.recipe import Recipe, dump_recipe
from qtrain.records.files import write_json_lines
from qtrain.records.runs import RECORDS, read_records
from qtrain.report.comparison.verdict import Answer
from qtrain.schedulers.catalogue import DEFAULT
from qtrain.training import Interrupted, train
from qtrain.training.context import RunContext
from tests.experiments.comparison.step_counter import StepCounter

FLAGS = ["--config=mine.yaml", "--out=cmp"]
CELLS = [f"{DEFAULT}-seed3", "multistep-seed3", f"{DEFAULT}-seed4", "multistep-seed4"]


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each file was written, and what is in it."""
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()
    }


def set_accuracy(run: Path, accuracy: float) -> None:
    """Give a finished run another result."""
    records = read_records(run)
    records[-1]["test_accuracy"] = accuracy
    write_json_lines(run / RECORDS, records)


@pytest.fixture(scope="module")
def recipe(tiny: Callable[..., Recipe]) -> Recipe:
    return tiny(epochs=1, seed=3)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Path:
    out = tmp_path_factory.mktemp("done") / "cmp"
    compare(recipe, out, seeds=2)
    return out


@pytest.fixture
def cmp(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe) -> Path:
    """Return a copy of a finished comparison; it is ./cmp, beside its recipe in mine.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(dump_recipe(recipe))
    return Path(shutil.copytree(done, tmp_path / "cmp"))


def test_every_scheduler_meets_every_seed_and_nothing_else_changes(done: Path, recipe: Recipe) -> None:
    assert sorted(p.name for p in done.iterdir()) == sorted([*CELLS, "comparison.json", "status.json"])
    for name in CELLS:
        scheduler, seed = name.split("-seed")
        run = read_records(done / name)[0]
        assert run["recipe"] == recipe.replace(scheduler=scheduler, seed=int(seed)).to_dict()


def test_the_summary_is_what_the_records_say(done: Path) -> None:
    summary = json.loads((done / "comparison.json").read_text())
    accuracy = {name: read_records(done / name)[-1]["test_accuracy"] for name in CELLS}
    assert {c["folder"]: c["test_accuracy"] for c in summary["cells"]} == accuracy
    assert [c["folder"] for c in summary["cells"]] == CELLS
    assert summary["differences"]["multistep"] == [
        accuracy[f"{DEFAULT}-seed3"] - accuracy["multistep-seed3"],
        accuracy[f"{DEFAULT}-seed4"] - accuracy["multistep-seed4"],
    ]


def test_paired_runs_begin_with_the_same_weights_and_batches(done: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Up to the first drawn rate the two schedules are one run: the loss of the first step is the same."""
    losses = []
    for scheduler in (DEFAULT, "multistep"):
        one = recipe.replace(scheduler=scheduler, train_size=20)
        train_recipe(one, tmp_path / scheduler)
        losses.append(read_records(tmp_path / scheduler)[1]["loss"])
    assert losses[0] == losses[1]


def test_finished_runs_are_read_and_not_trained_again(cmp: Path, recipe: Recipe) -> None:
    before = {name: state(cmp / name) for name in CELLS}
    said: list[str] = []
    comparison = compare(recipe, cmp, seeds=2, context=RunContext(say=said.append))
    assert {name: state(cmp / name) for name in CELLS} == before
    assert [c.folder.name for c in comparison.cells] == CELLS
    assert len(said) == 4


def test_an_interrupted_run_continues_and_a_lost_one_is_trained(cmp: Path, done: Path, recipe: Recipe) -> None:
    shutil.rmtree(cmp / "multistep-seed4")
    shutil.rmtree(cmp / f"{DEFAULT}-seed4")
    cell = recipe.replace(scheduler=DEFAULT, seed=4)
    steps = iter(range(1, 9))
    with pytest.raises(Interrupted):
        train(model_of(cell), cell, cmp / f"{DEFAULT}-seed4", context=RunContext(stop=lambda: next(steps) == 2))
    begun = read_records(cmp / f"{DEFAULT}-seed4")[0]
    compare(recipe, cmp, seeds=2)
    assert read_records(cmp / f"{DEFAULT}-seed4")[0] == begun
    for name in CELLS:
        (_, *ours), (_, *theirs) = read_records(cmp / name), read_records(done / name)
        for one, other in zip(ours, theirs, strict=True):
            assert {k: v for k, v in one.items() if k not in ("seconds", "images_per_second", "commit", "resumed")} == {
                k: v for k, v in other.items() if k not in ("seconds", "images_per_second", "commit", "resumed")
            }


def test_a_run_killed_before_its_first_checkpoint_is_trained_again(cmp: Path, done: Path, recipe: Recipe) -> None:
    for path in (cmp / f"{DEFAULT}-seed3").iterdir():
        if path.name != "recipe.yaml":
            path.unlink()
    compare(recipe, cmp, seeds=2)
    theirs = read_records(done / f"{DEFAULT}-seed3")[-1]["test_accuracy"]
    assert read_records(cmp / f"{DEFAULT}-seed3")[-1]["test_accuracy"] == theirs


@pytest.mark.parametrize("change", [{"lr": 0.03}, {"width": 0.25}, {"network": "CNV_2W2A"}])
def test_a_folder_of_another_recipe_is_refused_untouched(cmp: Path, recipe: Recipe, change: dict) -> None:
    before = state(cmp)
    with pytest.raises(
        UserError,
        match=rf"{DEFAULT}-seed3 is a run of another recipe \(.* instead of .*\); name a new folder with --out$",
    ):
        compare(recipe.replace(**change), cmp, seeds=2)
    assert state(cmp) == before


def test_more_seeds_add_runs_to_those_there(cmp: Path, recipe: Recipe) -> None:
    before = {name: state(cmp / name) for name in CELLS[:2]}
    for name in CELLS[2:]:
        shutil.rmtree(cmp / name)
    assert len(compare(recipe, cmp, seeds=1).cells) == 2
    assert len(compare(recipe, cmp, seeds=2).cells) == 4
    assert {name: state(cmp / name) for name in CELLS[:2]} == before


@pytest.mark.parametrize(
    ("aslr", "multistep", "tolerance", "answer"),
    [
        ([80.0], [80.0], 0.5, Answer.UNDECIDED),  # one seed, always
        ([80.0, 90.0], [80.5, 90.5], 0.5, Answer.HOLDS),  # no spread: the interval is a point, and at the tolerance
        ([80.0, 90.0], [81.0, 91.0], 0.5, Answer.SHORT),
        ([80.0, 91.0], [80.0, 90.0], 5.0, Answer.UNDECIDED),  # ahead, but it may be 5.85 behind
        ([80.0, 91.0], [80.0, 90.0], 6.0, Answer.HOLDS),
    ],
)
def test_a_comparison_is_judged_by_the_pairs_of_its_seeds(
    recipe: Recipe, aslr: list[float], multistep: list[float], tolerance: float, answer: Answer
) -> None:
    cells = [Cell(DEFAULT, s, Path(f"a{s}"), v) for s, v in enumerate(aslr)]
    cells += [Cell("multistep", s, Path(f"m{s}"), v) for s, v in reversed(list(enumerate(multistep)))]
    (found,) = Comparison(recipe, tuple(cells), tolerance).verdicts
    assert (found.baseline, found.answer) == ("multistep", answer)


def test_a_rival_that_wins_fails_the_comparison_only_where_it_is_named(recipe: Recipe) -> None:
    won = {DEFAULT: 80.0, "multistep": 80.0, "prodigy": 90.0}
    cells = tuple(Cell(s, seed, Path(f"{s}{seed}"), accuracy) for s, accuracy in won.items() for seed in (0, 1))
    assert [v.baseline for v in Comparison(recipe, cells, 0.5).verdicts] == ["multistep"]
    assert Comparison(recipe, cells, 0.5).file().to_json()["verdict"]["answer"] == "holds"
    named = Comparison(recipe, cells, 0.5, against=("prodigy", "multistep"))
    assert {v.baseline: v.answer for v in named.verdicts} == {"prodigy": Answer.SHORT, "multistep": Answer.HOLDS}
    assert named.file().to_json()["verdict"]["answer"] == "falls short"
    assert Comparison(recipe, cells, 0.5, challenger="prodigy").differences(DEFAULT) == [10.0, 10.0]


@pytest.mark.parametrize(
    ("schedulers", "judged"),
    [
        (("multistep", DEFAULT, "aslr"), DEFAULT),
        (("multistep", "aslr"), "aslr"),
        (("multistep", "aslr_average", "aslr"), "aslr"),
        (("multistep", "aslr_average"), "aslr_average"),
    ],
)
def test_what_is_judged_is_the_default_and_else_an_aslr(schedulers: tuple[str, ...], judged: str) -> None:
    assert default_challenger(schedulers) == judged


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"challenger": "prodigy"}, "schedulers must be prodigy and at least one other"),
        ({"against": ["cosine"]}, rf"against must name schedulers that {DEFAULT} is compared with \(multistep\)"),
        ({"against": [DEFAULT]}, "against must name schedulers"),
        ({"tuning": {"cosine": 3}}, "tuning must give runs"),
        ({"seeds": 0}, "seeds must be 1 or more"),
    ],
)
def test_arguments_out_of_range_change_nothing(recipe: Recipe, tmp_path: Path, options: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        compare(recipe, tmp_path / "new", **options)
    assert not list(tmp_path.iterdir())


def test_options_of_schedulers_are_by_scheduler(recipe: Recipe, tmp_path: Path) -> None:
    both = recipe.replace(scheduler_options={"multistep": {"a": 1}})
    found = {r.scheduler: r.scheduler_options for r, _ in cells_of(both, tmp_path, (DEFAULT, "multistep"), 1)}
    assert found == {DEFAULT: {}, "multistep": {"a": 1}}
    with pytest.raises(UserError, match="must be by scheduler, as in"):
        compare(recipe.replace(scheduler_options={"eta_max": 10}), tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_tuning_runs_are_read_and_kept(cmp: Path, recipe: Recipe) -> None:
    assert parse_tuning(" multistep=9, aslr=0") == {"multistep": 9, "aslr": 0}
    for text in ("multistep", "multistep=many", "=3"):
        with pytest.raises(UserError, match="tuning must be SCHEDULER=RUNS"):
            parse_tuning(text)
    compare(recipe, cmp, seeds=2, tuning={"multistep": 9})
    assert json.loads((cmp / "comparison.json").read_text())["tuning"] == {"multistep": 9}


def test_a_run_that_diverges_is_recorded_and_repeated_only_when_asked(recipe: Recipe, tmp_path: Path) -> None:
    out, broken, watch = tmp_path / "cmp", recipe.replace(lr=1e30), StepCounter()
    comparison = compare(broken, out, seeds=1, engine=watch)
    assert watch.count > 0
    assert [c.test_accuracy for c in comparison.cells] == [None, None]
    assert [v.answer for v in comparison.verdicts] == [Answer.SHORT]
    summary = json.loads((out / "comparison.json").read_text())
    assert summary["cells"] == []
    assert [c["scheduler"] for c in summary["failed"]] == [DEFAULT, "multistep"]
    assert all(c["reason"].startswith("the loss is ") for c in summary["failed"])
    before, count = state(out), watch.count
    assert compare(broken, out, seeds=1, engine=watch) == comparison
    assert watch.count == count
    assert {k: v[1] for k, v in state(out).items()} == {k: v[1] for k, v in before.items()}
    compare(broken, out, seeds=1, again=True, engine=watch)
    assert watch.count == 2 * count


def test_a_rival_that_diverges_stops_no_other_and_fails_nothing(recipe: Recipe, tmp_path: Path) -> None:
    wild = recipe.replace(scheduler_options={"l4mom": {"alpha": 1e30}})
    found = compare(wild, tmp_path / "cmp", seeds=1, schedulers=("l4mom", DEFAULT, "multistep"), tolerance=100)
    assert [c.scheduler for c in found.cells if c.failed] == ["l4mom"]
    assert len(found.accuracies(DEFAULT)) == len(found.accuracies("multistep")) == 1
    assert [v.one_seed for v in found.verdicts] == [True]


@pytest.mark.slow
def test_the_range_test_chooses_one_rate_for_all_runs_once(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe, out = tiny(epochs=1, lr="auto", train_size=None, batch_size=50, validation_size=100), tmp_path / "cmp"
    found = compare(recipe, out, seeds=1)
    assert isinstance(found.recipe.lr, float)
    assert {read_records(c.folder)[0]["recipe"]["lr"] for c in found.cells} == {found.recipe.lr}
    assert json.loads((out / "comparison.json").read_text())["lr_range"]["steps"] > 0
    before = state(out)
    assert compare(recipe, out, seeds=1) == found
    del before["comparison.json"]
    assert before.items() <= state(out).items()
    with pytest.raises(UserError, match=r"lr_range\.json is of another recipe \(width 0\.125 instead of 0\.25\)"):
        compare(recipe.replace(width=0.25), out, seeds=1)


def test_the_command_ends_with_status_1_where_aslr_diverged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, cli: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(dump_recipe(recipe.replace(lr=1e30)))
    outcome = cli("compare", *FLAGS, "--seeds=1")
    assert outcome.status == 1
    assert outcome.err == f"qtrain: {DEFAULT} falls short of multistep: {DEFAULT} diverged with seed 3.\n"
    assert "diverged" in outcome.out


def test_the_command_ends_with_status_0_where_aslr_keeps_up(cmp: Path, cli: Callable) -> None:
    for name in CELLS:
        set_accuracy(cmp / name, 90.0 if name.startswith(DEFAULT) else 90.5)
    before = {name: state(cmp / name) for name in CELLS}
    outcome = cli("compare", *FLAGS, "--seeds=2", "--tolerance=0.5")
    assert (outcome.status, outcome.err) == (0, "")
    assert {name: state(cmp / name) for name in CELLS} == before
    assert [p for p in cmp.glob("*.html") if p.stat().st_size]


def test_the_command_ends_with_status_1_and_a_line_where_aslr_falls_short(cmp: Path, cli: Callable) -> None:
    for name in CELLS:
        set_accuracy(cmp / name, 90.0 if name.startswith(DEFAULT) else 90.75)
    outcome = cli("compare", *FLAGS, "--seeds=2", "--tolerance=0.5")
    assert outcome.status == 1
    said = (
        f"{DEFAULT} falls short of multistep: 0.75 points below (95 % interval -0.75 to -0.75, 2 paired seeds); even "
        "the interval's upper end is beyond the tolerance of 0.5 points."  # both seeds differ by as much
    )
    assert outcome.err == f"qtrain: {said}\n"
    assert outcome.out.endswith(f"\n{said}\n")
    found = json.loads((cmp / "comparison.json").read_text())["verdict"]
    assert found["answer"] == found["against"]["multistep"]["answer"] == "falls short"
    assert found["against"]["multistep"]["difference"]["high"] == -0.75


def test_two_schedulers_that_win_are_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, cli: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(dump_recipe(recipe))
    for scheduler, accuracy in ((DEFAULT, 50.0), ("cosine", 51.0), ("constant", 60.0)):
        train_recipe(recipe.replace(scheduler=scheduler), Path("cmp") / f"{scheduler}-seed3")
        set_accuracy(Path("cmp") / f"{scheduler}-seed3", accuracy)
    words = ["--seeds=1", f"--schedulers={DEFAULT}, cosine,constant", "--undecided=fail"]
    outcome = cli("compare", *FLAGS, *words)
    assert outcome.status == 1
    assert outcome.err.count("\n") == 1
    assert f"With it {DEFAULT}'s test accuracy is 1.00 points below cosine's" in outcome.err
    assert f"With it {DEFAULT}'s test accuracy is 10.00 points below constant's" in outcome.err


@pytest.mark.slow
def test_a_schedulers_first_run_is_exported_once_and_then_proven_again(cmp: Path, recipe: Recipe) -> None:
    cells = tuple(Cell(DEFAULT, seed, cmp / f"{DEFAULT}-seed{seed}", 0.0) for seed in (3, 4))
    comparison = Comparison(recipe, cells, tolerance=0.5)
    target = {"board": "ZCU104", "target_fps": 1000, "clock_ns": 10.0}
    export_cells(comparison, **target)
    before = state(cmp)
    assert [str(p.relative_to(cmp)) for p in cmp.glob("*/finn")] == [f"{DEFAULT}-seed3/finn"]
    manifest = json.loads((cmp / f"{DEFAULT}-seed3" / "finn" / "manifest.json").read_text())
    assert manifest["source"]["recipe"] == recipe.replace(scheduler=DEFAULT).to_dict()
    assert manifest["proof"]["images"] == manifest["proof"]["equal"] == len(load_data("digits").test)
    export_cells(comparison, **target)
    assert state(cmp) == before
    (cmp / f"{DEFAULT}-seed3" / "finn" / "model.onnx").write_bytes(b"")
    with pytest.raises(ProofError, match="is not what was exported"):
        export_cells(comparison, **target)


def test_other_peoples_folders_are_not_filled(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    with pytest.raises(UserError, match="holds other things already and nothing is overwritten"):
        compare(recipe, tmp_path, seeds=1)
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]

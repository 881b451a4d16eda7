"""Sweeps as a whole: every cell trained by one recipe, proven, estimated, a row; a cell's failure is a row too."""

import csv
import dataclasses
import io
import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from qtrain.engines.task import Died, Task
from qtrain.errors import UserError
from qtrain.experiments.run import load_run
from qtrain.experiments.sweep.file import read_plan
from qtrain.experiments.sweep.plan import SweepPlan, plan_sweep
from qtrain.experiments.sweep.run import resume_sweep, sweep
from qtrain.experiments.view import LineView
from qtrain.export import verify
from qtrain.export.compiler.start import find_compiler
from qtrain.records.checksum import without_checksum
from qtrain.records.runs import read_records
from qtrain.schedulers.catalogue import DEFAULT
from qtrain.training import Interrupted
from qtrain.training.context import RunContext
from tests.checks import check_refusal, tree

TINY: dict[str, Any] = {"data": "digits", "epochs": 1, "batch_size": 20, "width": 0.125, "optimizer": "adam"}
TINY |= {"train_size": 60, "validation_size": 40, "lr": 0.02}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]


def plan(network: str = "TFC", **changes: Any) -> SweepPlan:
    return plan_sweep(network, **TINY | changes)


def status_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "status.json").read_text())


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [without_checksum(json.loads(line)) for line in (out / "sweep.jsonl").read_text().splitlines()]


@dataclasses.dataclass(frozen=True)
class Done:
    """A finished sweep and what it said."""

    out: Path
    rows: list[dict[str, Any]]
    said: list[str]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Return a sweep of two cells for a board."""
    out, said = tmp_path_factory.mktemp("sweep") / "out", []
    rows = sweep(
        plan(weight_bits=[2, 1], board="ZCU104"),
        out,
        view=LineView(said.append, every=0),
        context=RunContext(device="cpu"),
    )
    return Done(out, rows, said)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sweep with warm starts, without a board."""
    out = tmp_path_factory.mktemp("warm") / "out"
    sweep(plan(weight_bits=[1, 8], warm_from=8), out, context=RunContext(device="cpu"))
    return out


def test_rows_are_written_as_they_are_returned_in_the_plans_order(done: Done) -> None:
    assert [row["cell"] for row in done.rows] == ["TFC_2W2A-seed0", "TFC_1W1A-seed0"]
    assert rows_of(done.out) == done.rows
    for row in done.rows:
        written = json.loads((done.out / "cells" / row["cell"] / "cell.json").read_text())
        assert without_checksum(written) == row
        assert (row["state"], row["stage"], row["error"]) == ("done", None, None)


def test_a_row_says_what_the_cells_run_folder_says(done: Done) -> None:
    for row in done.rows:
        folder = done.out / "cells" / row["cell"]
        *_, epoch, result = read_records(folder)
        assert load_run(folder)[0].network == row["network"]
        known = {name: result[name] for name in ("test_accuracy", "validation_accuracy", "best_epoch")}
        assert known == {name: row[name] for name in known}
        names = {"train_loss": "loss", "validation_accuracy": "validation_accuracy", "lr": "lr"}
        assert row["curve"] == {ours: [epoch[theirs]] for ours, theirs in names.items()}
        assert row["seconds"]["train"] == pytest.approx(result["seconds"], abs=1e-3)


def test_a_cell_is_proven_on_every_test_image_and_its_folder_proves_itself(done: Done) -> None:
    for row in done.rows:
        proof = verify(done.out / "cells" / row["cell"] / "finn")
        assert row["proven"] is True
        assert row["proof"] == json.loads(json.dumps(dataclasses.asdict(proof)))
        assert (proof.images, proof.equal) == (397, 397)


def test_costs_grow_with_the_bits(done: Done) -> None:
    wide, narrow = (row["cost"] for row in done.rows)
    assert wide["macs"] == narrow["macs"] > 0
    assert wide["bops"] > narrow["bops"]
    assert wide["weight_bits"] == 2 * narrow["weight_bits"]


def test_finn_takes_every_cell_and_its_estimate_is_the_folders(done: Done, finn_plus: str) -> None:
    for row in done.rows:
        written = json.loads((done.out / "cells" / row["cell"] / "estimate" / "estimate.json").read_text())
        assert row["finn"]["accepted"] is True
        assert row["estimate"] == {name: written[name] for name in row["estimate"]}
        assert row["estimate"]["used"]["LUT"] > 0
        assert row["estimate"]["fits"] is True
        assert row["seconds"]["estimate"] > 0


def test_the_table_has_a_line_a_cell_with_the_rows_numbers(done: Done) -> None:
    lines = list(csv.DictReader(io.StringIO((done.out / "sweep.csv").read_text())))
    assert [line["cell"] for line in lines] == [row["cell"] for row in done.rows]
    for line, row in zip(lines, done.rows, strict=True):
        assert float(line["test_accuracy"]) == row["test_accuracy"]
        assert (line["error"], line["proven"], line["bops"]) == ("", "True", str(row["cost"]["bops"]))
        assert line["lut"] == ("" if row["estimate"] is None else str(row["estimate"]["used"]["LUT"]))
        assert line["command"] == row["command"]


def test_the_status_of_a_finished_sweep_is_done(done: Done) -> None:
    status = status_of(done.out)
    assert status["state"] == "done"
    assert status["cells"] == {"done": 2, "failed": 0, "running": 0, "waiting": 0}
    assert (status["seconds_left"], status["running"], status["failed"]) == (0.0, [], [])


def test_lines_say_the_stages_and_each_outcome(done: Done) -> None:
    text = "\n".join(done.said)
    for stage in ("epoch 1/1", "(export)", "(lint)", *["(estimate)"] * (find_compiler() is not None)):
        assert f"TFC_2W2A-seed0 ({stage.strip('()')}" in text
    assert f"TFC_1W1A-seed0: {done.rows[1]['test_accuracy']:.2f} %, proven" in text


def test_a_finished_sweep_that_is_resumed_changes_no_cell(done: Done) -> None:
    before = tree(done.out / "cells")
    assert resume_sweep(done.out, again=True, context=RunContext(device="cpu")) == done.rows
    assert tree(done.out / "cells") == before


@pytest.mark.slow
def test_the_command_of_a_warm_row_rebuilds_its_accuracy(
    warm: Path, tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (row,) = [row for row in rows_of(warm) if row["start"] == "warm"]
    assert row["parent"] == "TFC_8W8A-seed0"
    parts = [shlex.split(part) for part in row["command"].split(" && ")]
    assert [part[:3] for part in parts] == [["qtrain", "train", "TFC_8W8A"], ["qtrain", "train", "TFC_1W1A"]]
    for part in parts:
        assert cli(*part[1:], "--device=cpu").status == 0
    rebuilt = read_records(tmp_path / "runs" / "rebuilt" / row["cell"])
    assert rebuilt[-1]["test_accuracy"] == row["test_accuracy"]
    assert [r["loss"] for r in rebuilt if r["type"] == "epoch"] == row["curve"]["train_loss"]


def test_a_warm_cell_starts_from_its_parents_weights_beside_a_twin_that_trains_as_long(warm: Path) -> None:
    rows = {row["cell"]: row for row in rows_of(warm)}
    assert {name: (row["epochs"], row["total_epochs"]) for name, row in rows.items()} == {
        "TFC_1W1A-seed0": (2, 2),
        "TFC_1W1A-warm-seed0": (1, 2),
        "TFC_8W8A-seed0": (1, 1),
    }
    start = read_records(warm / "cells" / "TFC_1W1A-warm-seed0")[0]["start"]
    assert start["path"] == str((warm / "cells" / "TFC_8W8A-seed0").resolve())
    assert start["result"]["test_accuracy"] == rows["TFC_8W8A-seed0"]["test_accuracy"]


def test_without_a_board_cells_are_linted_and_counted_alone(warm: Path, done: Done) -> None:
    for row in rows_of(warm):
        assert (row["state"], row["proof"], row["proven"], row["finn"], row["estimate"]) == ("done", *[None] * 4)
        assert not (warm / "cells" / row["cell"] / "finn").exists()
        assert row["seconds"]["estimate"] is None
    one_bit = [row["cost"] for row in rows_of(warm) if row["network"] == "TFC_1W1A"]
    assert one_bit == [done.rows[1]["cost"]] * 2  # the graph that is counted is the exported one


def test_one_range_test_at_the_widest_bits_gives_every_cell_its_rate(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep(plan(weight_bits=[1, 8], lr="auto"), out, context=RunContext(device="cpu"))
    found = json.loads((out / "lr_range.json").read_text())
    assert found["recipe"]["network"] == "TFC_8W8A"
    rates = {load_run(folder)[0].lr for folder in (out / "cells").iterdir()}
    assert rates == {found["recipe"]["lr"]} == {read_plan(out).recipe.lr}
    assert f"--lr={found['recipe']['lr']}" in rows_of(out)[0]["command"]


# failures


def test_a_run_that_diverges_is_a_row_and_the_command_ends_with_1(tmp_path: Path, cli: Callable) -> None:
    words = ["sweep", "TFC", "--weight-bits=1,8", *FLAGS, "--optimizer=sgd", "--lr=1e30"]
    words += ["--scheduler=constant", "--loss=squared_hinge", "--from=8"]
    ended = cli(*words, "--out", tmp_path / "out", "--device=cpu")
    assert read_plan(tmp_path / "out").command == shlex.join(["qtrain", *words])  # no path of this machine
    check_refusal(ended, 1, "3 of 3 cells failed", f"--resume {tmp_path}/out --again")
    scratch, warm, parent = rows_of(tmp_path / "out")
    for row in (scratch, parent):
        assert (row["state"], row["stage"], row["test_accuracy"]) == ("failed", "train", None)
        assert "the loss is inf at step 2" in row["error"]
    assert warm["error"] == f"it starts from TFC_8W8A-seed0, which failed: {parent['error']}"
    assert not (tmp_path / "out" / "cells" / warm["cell"]).exists()
    status = status_of(tmp_path / "out")
    assert (status["state"], status["cells"]["failed"]) == ("done", 3)
    assert status["failed"][0] == {name: scratch[name] for name in ("cell", "stage", "error")}
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.slow
def test_a_network_that_finn_would_refuse_keeps_its_accuracy(tmp_path: Path) -> None:
    small = {"width": 0.0625, "train_size": 20, "validation_size": 20, "batch_size": 10}
    (row,) = sweep(
        plan("WRN20_PAPER_2W2A", board="ZCU104", **small), tmp_path / "out", context=RunContext(device="cpu")
    )
    assert (row["state"], row["stage"], row["proven"], row["cost"]) == ("failed", "lint", None, None)
    assert row["test_accuracy"] is not None
    assert row["error"].startswith("FINN would refuse it at")
    assert {f["rule"] for f in row["lint"] if f["severity"] == "error"} >= {"average-pool"}


def test_failed_cells_stop_no_others_and_are_tried_anew_when_asked(tmp_path: Path) -> None:
    out = _stopped(tmp_path / "out", plan(weight_bits=[1, 2, 4], epochs=2), after=4)
    (out / "cells" / "TFC_1W1A-seed0" / "checkpoint.pt").write_bytes(b"damaged")
    (out / "cells" / "TFC_2W2A-seed0").write_text("in the way")
    damaged, blocked, other = resume_sweep(out, context=RunContext(device="cpu"))
    assert [row["state"] for row in (damaged, blocked, other)] == ["failed", "failed", "done"]
    assert (damaged["stage"], blocked["stage"]) == ("train", "train")
    assert "checkpoint.pt" in damaged["error"]
    assert blocked["error"].startswith("NotADirectoryError: ")  # no user's error has its type
    (out / "cells" / "TFC_2W2A-seed0").unlink()
    same, unblocked, _ = resume_sweep(out, context=RunContext(device="cpu"))
    assert (same, unblocked["state"]) == (damaged, "done")
    mended = resume_sweep(out, again=True, context=RunContext(device="cpu"))
    assert (mended[0]["state"], mended[0]["error"], mended[1:]) == ("done", None, [unblocked, other])


def test_a_cell_whose_process_died_goes_on_with_the_sweep(tmp_path: Path) -> None:
    def dying(tasks: Sequence[Task], *, stop: Any, told: Any) -> Iterator[tuple[Task, Any]]:
        for task in tasks:
            told(task.name, {"event": "start", "title": "lint", "steps": 0, "done": 0})
            yield task, Died("its process was ended by SIGKILL")

    (died,) = sweep(plan("TFC_1W1A"), tmp_path / "out", engine=dying, context=RunContext(device="cpu"))
    assert (died["state"], died["stage"]) == ("failed", "lint")
    assert died["error"] == "its process was ended by SIGKILL"
    assert [row["state"] for row in resume_sweep(tmp_path / "out", context=RunContext(device="cpu"))] == ["done"]


def _stopped(out: Path, what: SweepPlan, after: int = 0) -> Path:
    """Begin a sweep and stop it after so many questions whether to."""
    asked = iter([False] * after)
    with pytest.raises(Interrupted):
        sweep(what, out, context=RunContext(stop=lambda: next(asked, True), device="cpu"))
    assert status_of(out)["state"] == "interrupted"
    return out


# what is refused


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a family"),
        (["CNN", "--weight-bits=1"], "families are"),
        (["TFC"], "--weight-bits 1,2,4,8"),
        (["TFC", "--weight-bits=0,1"], "1 to 8 bits"),
        (["TFC", "--weight-bits=1,1"], "each once"),
        (["TFC", "--weight-bits="], "1,2,4,8"),
        (["TFC", "--weight-bits=1", "--act-bits=9"], "1 to 8 bits"),
        (["TFC", "--weight-bits=1", "--seeds=0"], "seeds must be 1 or more"),
        (["TFC", "--weight-bits=1", "--board=ZCU105"], "did you mean ZCU104"),
        (["TFC", "--weight-bits=1,8", "--from=4"], "but got 4"),
        (["TFC", "--weight-bits=1,8", "--from=x"], "from must be a whole number"),
        (["TFC", "--weight-bits=1", "--bits=nothere=4"], "names no such quantizer"),
        (["TFC", "--weight-bits=1", "--jobs=0"], "jobs must be 1 or more"),
        (["TFC", "--weight-bits=1", "--engine=slurm"], "engine must be one of processes, ray"),
        (["TFC", "--weight-bits=1", "--address=auto"], "goes with --engine ray"),
        (["TFC", "--weight-bits=1", "--again"], "goes with --resume"),
        (["TFC", "--weight-bits=1", "--train-size=99999"], "99999"),
        (["TFC", "--weight-bits=1", "--device=cuda:99"], "cuda:99"),
        (["TFC", "--weight-bits=1", "--lr=auto", "--scheduler=armijo"], "would not read the rate"),
        (["TFC", "--weight-bits=1", "--scheduler-options={patience: 5}"], f"{DEFAULT} has no option patience"),
        (["TFC", "--weight-bits=1", "--lr=auto", "--scheduler-options={tie: 5}"], "tie must be"),
        (["TFC", "--weight-bits=1", "--out=mine"], "mine holds other things"),
        (["--resume=nowhere"], "is no sweep"),
        (["--resume=mine"], "is no sweep"),
        (["--resume=mine", "--epochs=3"], "leave out --epochs"),
        (["TFC", "--resume=mine"], "leave out TFC"),
    ],
)
def test_a_wrong_command_is_one_line_and_writes_nothing(
    tmp_path: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("of something else")
    before = tree(tmp_path)
    tiny = [flag for flag in FLAGS if flag.partition("=")[0] not in {word.partition("=")[0] for word in words}]
    check_refusal(cli("sweep", *words, *([] if any("resume" in word for word in words) else tiny)), 2, says)
    assert tree(tmp_path) == before


def test_another_sweeps_folder_is_left_alone(done: Done) -> None:
    before = tree(done.out)
    with pytest.raises(UserError, match="holds a sweep already"):
        sweep(plan(weight_bits=[4]), done.out, context=RunContext(device="cpu"))
    assert tree(done.out) == before


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    out, refused = tmp_path / "out", []

    def stop() -> bool:
        if not refused:
            with pytest.raises(UserError, match=r"another process is at work in .*out; wait") as error:
                resume_sweep(out, context=RunContext(device="cpu"))
            refused.append(error)
        return True

    with pytest.raises(Interrupted):
        sweep(plan("TFC_1W1A"), out, context=RunContext(stop=stop, device="cpu"))
    assert refused


def test_a_damaged_row_of_a_cell_is_named(done: Done, tmp_path: Path) -> None:
    out = Path(shutil.copytree(done.out, tmp_path / "out"))
    (out / "cells" / "TFC_1W1A-seed0" / "cell.json").write_text('{"cell": 3')
    with pytest.raises(UserError, match=r"TFC_1W1A-seed0/cell\.json is damaged .*; delete it"):
        resume_sweep(out, context=RunContext(device="cpu"))

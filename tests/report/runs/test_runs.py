"""qtrain runs: every state is found out from the files, damage is named, links are not followed, 80 columns do."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qtrain.recipe import Recipe, dump_recipe
from qtrain.records.estimate import Estimate, LayerEstimate
from qtrain.records.lock import held_folders
from qtrain.records.status import FailedCell, RunningCell, StatusFile
from qtrain.report.runs import folder as reading
from qtrain.report.runs.read import Found, Reader
from qtrain.report.runs.row import RunRow
from qtrain.report.runs.scan import scan
from qtrain.report.runs.text import amount
from tests.checks import check_refusal, tree
from tests.experiments.sweep.sweep_data import edit_rows, write_sweep
from tests.report.comparison.report_data import write_comparison
from tests.report.runs.run_folders import add, add_epoch, recipe, write_run

LAYER = LayerEstimate("mvau", "MVAU_hls", "conv1", cycles=9, lut=50, bram_18k=1, uram=0, dsp=0)
USED = {"LUT": 52_345, "BRAM_18K": 3, "URAM": 0, "DSP": 1}
ESTIMATE = Estimate(
    **{"label": "", "board": "ZCU104", "part": "", "clock_ns": 10.0, "target_fps": 1000, "mvau_wwidth_max": 36},
    **{"fps": 1234.5, "cycles": 9, "latency_ns": 1.0, "slowest": "mvau", "used": USED, "available": USED},
    **{"max_utilization": 1.0, "fits": True, "layers": (LAYER,), "versions": {}},
)


def found_in(*folders: Path, held: Path | None = None) -> Found:
    return Reader(lambda folder: folder == held).read(*map(scan, folders))


def row_of(folder: Path, **options: Path) -> RunRow:
    (row,) = found_in(folder, **options).runs
    return row


# --- States -----------------------------------------------------------------------------------------------------------


def test_a_finished_run_has_its_facts(tmp_path: Path) -> None:
    row = row_of(write_run(tmp_path / "a", seed=7, bits="first=8", network="CNV_2W2A"))
    assert (row.network, row.data, row.scheduler, row.seed) == ("CNV_2W2A first=8", "digits", "aslr", 7)
    assert (row.done, row.epochs, row.best, row.test, row.state) == (4, 4, 64.0, 75.5, "finished")


def test_a_run_that_ended_early_is_stopped(tmp_path: Path) -> None:
    row = row_of(write_run(tmp_path / "a", done=2))
    assert (row.done, row.epochs, row.best, row.state) == (2, 4, 62.0, "stopped")


def test_a_run_that_was_killed_before_its_first_record_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe(seed=3)))
    os.utime(tmp_path / "recipe.yaml", (0, 0))
    row = row_of(tmp_path)
    assert (row.network, row.seed, row.done, row.epochs, row.state) == ("CNV_1W1A", 3, 0, 4, "stopped")


def test_a_held_folder_is_a_running_run_with_the_time_it_still_takes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", done=2, epochs=100, age=0)
    row = row_of(folder, held=folder)
    assert row.state == "running"
    assert row.seconds_left == pytest.approx(98, abs=2)


def test_without_a_lock_a_run_that_just_wrote_may_run(tmp_path: Path) -> None:
    assert row_of(write_run(tmp_path / "new", done=2, age=0)).state == "running?"
    assert row_of(write_run(tmp_path / "old", done=2, age=60)).state == "stopped"


def test_a_clock_that_was_set_back_makes_no_run_alive_and_no_time_longer(tmp_path: Path) -> None:
    """What was written an hour from now was written before the clock was set."""
    folder = write_run(tmp_path / "a", done=2, epochs=100, age=-3600)
    assert row_of(folder).state == "stopped"
    assert row_of(folder, held=folder).seconds_left == 98


def test_a_status_of_a_time_to_come_is_that_of_a_process_that_was_killed(tmp_path: Path) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    StatusFile("running", later, later, {"done": 1}, 5.0, (), ()).write(tmp_path)
    (several,) = found_in(tmp_path).several
    assert (several.state, several.seconds_left) == ("stopped", None)


@contextmanager
def no_more_files() -> Iterator[None]:
    """Inside, this process may open no file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_damages_no_run(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_sweep(tmp_path / "sweep")
    tree = scan(tmp_path)
    with no_more_files():
        with pytest.raises(OSError, match="Too many open files"):
            scan(tmp_path)
        with pytest.raises(OSError, match="Too many open files"):
            Reader(lambda folder: False).read(tree)


@pytest.mark.slow
def test_a_real_run_is_running_while_it_trains_and_then_finished(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(tiny(epochs=5)))
    words = ["train", "--config", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs" / "a")]
    command = [sys.executable, "-W", "ignore", "-m", "qtrain.cli", *words]
    training = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seen = []
    (tmp_path / "runs").mkdir()
    while training.poll() is None:
        with held_folders() as is_held:
            found = Reader(is_held).read(scan(tmp_path / "runs"))
        seen += [(row.state, row.done) for row in found.runs]
        time.sleep(0.1)
    assert training.returncode == 0
    assert {state for state, _ in seen} <= {"running", "finished"}
    assert [done for state, done in seen if state == "running" and 0 < done < 5]
    assert seen == sorted(seen, key=lambda each: each[1])
    (row,) = found_in(tmp_path / "runs").runs
    assert (row.state, row.done) == ("finished", 5)


def test_a_run_that_diverged_says_why(tmp_path: Path, cli: Callable) -> None:
    folder = write_run(tmp_path / "a", done=1)
    (folder / "failed.json").write_text('{"reason": "the loss is nan at step 2"}')
    row = row_of(folder)
    assert (row.state, row.why) == ("failed", "the loss is nan at step 2")
    assert "the loss is nan at step 2" in cli("runs", tmp_path).out


def test_an_export_brings_its_proof_and_its_estimate(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "cmp") / "aslr-seed0"
    (folder / "recipe.yaml").write_text(dump_recipe(recipe()))
    row = row_of(folder)
    assert (row.state, row.proof, row.lut, row.fps) == ("exported", "proven", None, None)
    for place in (folder / "finn" / "estimate", folder / "estimate"):
        place.mkdir()
        ESTIMATE.write(place)
        row = row_of(folder)
        assert (row.lut, row.fps) == (ESTIMATE.used["LUT"], ESTIMATE.fps)
        shutil.rmtree(place)


# --- Comparisons and sweeps -------------------------------------------------------------------------------------------


def status(updated: datetime, *cells: str) -> StatusFile:
    running = tuple(RunningCell(cell, "train", 1, 4, 50.0) for cell in cells)
    counts = {"done": 2, "failed": 1, "running": len(cells), "waiting": 3}
    return StatusFile("running", "", updated.isoformat(), counts, 90.0, running, (FailedCell("x", "train", "nan"),))


def test_a_comparison_is_shown_by_its_cells_and_its_status(tmp_path: Path, cli: Callable) -> None:
    write_comparison(tmp_path / "cmp")
    write_run(tmp_path / "cmp" / "cosine-seed0", done=2, scheduler="cosine")
    status(datetime.now(UTC), "cosine-seed0").write(tmp_path / "cmp")
    found = found_in(tmp_path)
    assert [row.state for row in found.runs if "cosine" in row.folder] == ["running"]
    assert len(found.runs) == 7
    (several,) = found.several
    assert (several.kind, several.state, several.seconds_left) == ("comparison", "running", 90.0)
    said = " ".join(cli("runs", tmp_path).out.split())
    assert "comparison, running; cells: 2 done, 1 failed, 1 running, 3 waiting, about 1 min 30 s left" in said


def test_a_fit_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text("{}")
    status(datetime.now(UTC), "round1-1").write(tmp_path)
    (several,) = found_in(tmp_path).several
    assert (several.kind, several.state) == ("fit", "running")


def test_a_status_that_nobody_writes_any_more_runs_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "cosine-seed0", done=2)
    status(datetime.now(UTC) - timedelta(minutes=2), "cosine-seed0").write(tmp_path)
    found = found_in(tmp_path)
    assert [row.state for row in found.runs] == ["stopped"]
    assert found.several[0].state == "stopped"


def test_a_sweeps_cells_are_its_plans_with_folders_or_without(tmp_path: Path) -> None:
    write_sweep(tmp_path, widths=(1, 2), seeds=(0,), warm=False)
    write_run(tmp_path / "cells" / "CNV_1W1A-seed0", done=1)
    edit_rows(tmp_path, lambda rows: [rows.remove(row) for row in rows[:] if row["cell"] == "CNV_1W2A-seed0"])
    status(datetime.now(UTC), "CNV_1W1A-seed0").write(tmp_path)
    rows = {Path(row.folder).name: row for row in found_in(tmp_path).runs}
    assert {name: row.state for name, row in rows.items()} == {
        "CNV_1W1A-seed0": "running",
        "CNV_1W2A-seed0": "waiting",
        "CNV_2W1A-seed0": "exported",
        "CNV_2W2A-seed0": "exported",
    }
    done = rows["CNV_2W2A-seed0"]
    assert (done.network, done.data, done.scheduler, done.proof) == ("CNV_2W2A", "digits", "aslr", "proven")
    assert done.lut is not None
    assert done.fps is not None


def test_a_failed_cell_of_a_sweep_names_its_stage(tmp_path: Path) -> None:
    write_sweep(tmp_path, widths=(1, 8), seeds=(0,), warm=False)
    failed = [row for row in found_in(tmp_path).runs if row.state == "failed"]
    assert any(row.why.startswith("estimate: StreamingMaxPool") and row.proof == "proven" for row in failed)


def test_the_recorded_sweeps_are_read() -> None:
    found = found_in(Path(__file__).parents[3] / "results" / "sweeps")
    assert not found.damaged
    assert len(found.several) == 3
    assert all(row.network.startswith("CNV_") and row.best for row in found.runs)


# --- Damage -----------------------------------------------------------------------------------------------------------

DAMAGES = {
    "records.jsonl": [b"{no json\n", b"[1]\n", b"\xff\xfe\n", b'{"epoch": 1}\n', b'{"type": "epoch", "epoch": "1"}\n'],
    "failed.json": [b"", b'{"why": 1}'],
    "cell.json": [b"{}", b'"'],
    "finn/manifest.json": [b"{}", b"\x00", b'{"format": 1}'],
    "estimate/estimate.json": [b"[]", b'{"fps": 1}'],
}


@pytest.mark.parametrize(("name", "content"), [(name, each) for name, all_ in DAMAGES.items() for each in all_])
def test_damage_is_named_with_its_file_and_hides_no_other_run(
    name: str, content: bytes, tmp_path: Path, cli: Callable
) -> None:
    write_run(tmp_path / "good")
    path = write_run(tmp_path / "bad") / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((path.read_bytes() if name == "records.jsonl" else b"") + content)
    said = cli("runs", tmp_path)
    assert said.status == 0
    assert not said.err
    assert str(path) in said.out.replace("\n", "")
    rows = {Path(row.folder).name: row for row in found_in(tmp_path).runs}
    assert (rows["good"].state, rows["bad"].state) == ("finished", "damaged")
    assert rows["bad"].network == "CNV_1W1A" or name == "records.jsonl"


@pytest.mark.parametrize("content", [b"network: [", b"- 1", b"\xff", b"network: CNV_1W1A"])
def test_a_damaged_recipe_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(content)
    row = row_of(tmp_path)
    assert row.state == "damaged"
    assert str(tmp_path / "recipe.yaml") in row.why


@pytest.mark.parametrize("name", ["status.json", "sweep.json", "sweep.jsonl"])
def test_a_damaged_sweep_or_comparison_is_named(name: str, tmp_path: Path) -> None:
    write_sweep(tmp_path, widths=(1,), seeds=(0,), warm=False)
    status(datetime.now(UTC)).write(tmp_path)
    (tmp_path / name).write_text("{")
    assert any(str(tmp_path / name) in line for line in found_in(tmp_path).damaged)


def test_half_a_last_line_is_a_kill_and_no_damage(tmp_path: Path) -> None:
    with (write_run(tmp_path / "a", done=2) / "records.jsonl").open("a") as file:
        file.write('{"type": "epo')
    os.utime(tmp_path / "a" / "records.jsonl", (0, 0))
    assert row_of(tmp_path).state == "stopped"


def test_a_resumed_run_counts_each_epoch_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", done=2)
    add_epoch(folder, 2, validation_accuracy=70.0)
    assert (row_of(tmp_path).done, row_of(tmp_path).best) == (2, 70.0)


def test_a_loss_that_is_not_finite_is_no_damage_and_json_stays_json(tmp_path: Path, cli: Callable) -> None:
    folder = write_run(tmp_path / "a", done=1)
    add_epoch(folder, 2, loss=float("nan"))
    found = json.loads(cli("runs", tmp_path, "--json").out)
    assert (found["runs"][0]["done"], found["damaged"]) == (2, [])


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_folder_that_is_not_ours_to_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    assert "shut cannot be listed" in found_in(tmp_path).damaged[0]


# --- Links ------------------------------------------------------------------------------------------------------------


def test_links_are_never_followed(tmp_path: Path) -> None:
    outside = write_run(tmp_path / "outside" / "run")
    inside = tmp_path / "inside"
    write_run(inside / "mine", network="CNV_2W2A")
    (inside / "folder").symlink_to(outside)
    (inside / "up").symlink_to(tmp_path)
    for name in ("recipe.yaml", "records.jsonl", "failed.json"):
        (inside / name).mkdir()
        (inside / name / name).symlink_to(outside / "records.jsonl")
    found = found_in(inside)
    rows = {Path(row.folder).name: row for row in found.runs}
    assert rows["mine"].state == "finished"
    linked = [row for name, row in rows.items() if name != "mine"]
    assert len(linked) == 3
    assert all(row.state == "damaged" and "is a link or no plain file" in row.why for row in linked)
    assert not any(row.network for row in linked)


def test_a_pipe_in_a_records_place_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "records.jsonl")
    assert "no plain file" in row_of(tmp_path).why


def test_a_link_that_was_named_is_the_users_own_wish(tmp_path: Path) -> None:
    write_run(tmp_path / "there" / "a")
    (tmp_path / "here").symlink_to(tmp_path / "there")
    assert row_of(tmp_path / "here").state == "finished"


def test_a_run_below_two_of_the_folders_is_shown_once(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    assert len(found_in(tmp_path, tmp_path / "runs", tmp_path / "runs" / "a").runs) == 1


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / ".trash" / "a")
    assert not found_in(tmp_path).runs


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return ./runs with a finished, a stopped and a finished one of another scheduler."""
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/b-seed9"), seed=9)
    write_run(Path("runs/b-seed10"), done=1, seed=10)
    write_run(Path("runs/a"), scheduler="multistep", epochs=2, done=2)
    return Path("runs")


def folders(outcome: object) -> list[str]:
    return [Path(row["folder"]).name for row in json.loads(outcome.out)["runs"]]


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ((), ["a", "b-seed9", "b-seed10"]),
        (("--reverse",), ["b-seed10", "b-seed9", "a"]),
        (("--sort", "best"), ["b-seed9", "a", "b-seed10"]),
        (("--sort", "seed"), ["a", "b-seed9", "b-seed10"]),
        (("--sort", "seed", "--reverse"), ["b-seed10", "b-seed9", "a"]),
        (("--sort", "test"), ["a", "b-seed9", "b-seed10"]),
        (("--sort", "test", "--reverse"), ["a", "b-seed9", "b-seed10"]),
        (("--filter", "scheduler=aslr"), ["b-seed9", "b-seed10"]),
        (("--filter", "scheduler!=aslr"), ["a"]),
        (("--filter", "best>=62"), ["a", "b-seed9"]),
        (("--filter", "best >= 62, folder=*seed*"), ["b-seed9"]),
        (("--filter", "state=stopped"), ["b-seed10"]),
        (("--filter", "test<100"), ["a", "b-seed9"]),
        (("--filter", "test!=1"), ["a", "b-seed9"]),
        (("--filter", "proof="), ["a", "b-seed9", "b-seed10"]),
        (("--filter", "done=1,epochs>1,seed<11"), ["b-seed10"]),
    ],
)
def test_rows_are_sorted_and_filtered(options: tuple[str, ...], order: list[str], three: Path, cli: Callable) -> None:
    assert folders(cli("runs", *options, "--json")) == order


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--sort", "beste"), ("no column 'beste'", "did you mean best?")),
        (("--sort", "why"), ("no column 'why'",)),
        (("--filter", ""), ("is no condition such as best>=80",)),
        (("--filter", "best>=80,"), ("is no condition",)),
        (("--filter", "best"), ("is no condition",)),
        (("--filter", "best~80"), ("is no condition",)),
        (("--filter", "best==80"), ("held against a number", "'=80'")),
        (("--filter", "best>=nan"), ("held against a number",)),
        (("--filter", "best>=high"), ("held against a number",)),
        (("--filter", "sched=aslr"), ("no column 'sched'", "scheduler")),
        (("--filter", "scheduler>aslr"), ("is text, and has = and != alone",)),
        (("nowhere",), ("nowhere is not there", "name a folder")),
        (("--jsn",), ("--jsn",)),
    ],
)
def test_anything_else_is_refused_in_one_line(
    options: tuple[str, ...], says: tuple[str, ...], three: Path, cli: Callable
) -> None:
    check_refusal(cli("runs", *options), 2, *says)


def test_several_folders_are_taken_and_none_is_here(three: Path, cli: Callable) -> None:
    assert folders(cli("runs", "runs/a", "runs/b-seed9", "--json")) == ["a", "b-seed9"]
    assert folders(cli("runs", "--json")) == ["a", "b-seed9", "b-seed10"]


def test_nothing_found_is_said(tmp_path: Path, cli: Callable) -> None:
    assert cli("runs", tmp_path).out == "no runs; qtrain train, compare and sweep make some\n"
    assert json.loads(cli("runs", tmp_path, "--json").out) == {"runs": [], "several": [], "damaged": []}


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_the_terminal_and_holds_every_value(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.chdir(tmp_path)
    write_sweep(tmp_path / "a-sweep-with-a-long-name", seeds=(0,))
    write_run(tmp_path / "runs" / "my_module.py-MyNetwork_4W4A-digits-aslr_decay-seed3", network="VGG10_RADIOML_8W8A")
    write_comparison(tmp_path / "cmp")
    out = cli("runs").out
    table = [line for line in out.splitlines() if not line.startswith(("failed: ", "damaged: "))]
    assert max(map(len, table)) <= columns
    flat = "".join(out.split())
    for row in found_in(tmp_path).runs:
        for value in (Path(row.folder).name, row.network, row.scheduler, row.state, row.proof, f"{row.done}/"):
            assert "".join(str(value).split()) in flat or columns == 80


@pytest.mark.parametrize("columns", [60, 200])
def test_a_name_that_would_steer_the_terminal_is_printed_harmless(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a\x1b]0;b\nc[red]")
    (write_run(tmp_path / "\x1b[2Jd") / "records.jsonl").write_text("{\n")
    out = cli("runs").out
    assert "\x1b" not in out
    assert r"a\x1b]0;b\nc[red]" in out
    assert r"damaged: \x1b[2Jd/records.jsonl is damaged" in " ".join(out.split())
    assert "\x1b[2Jd" in [row["folder"] for row in json.loads(cli("runs", "--json").out)["runs"]]


def test_looking_writes_nothing(tmp_path: Path, cli: Callable) -> None:
    write_sweep(tmp_path / "sweep", seeds=(0,))
    write_run(tmp_path / "run", done=2)
    before = tree(tmp_path)
    cli("runs", tmp_path)
    assert tree(tmp_path) == before


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    progress = reading.read_progress

    def counted(folder: Path) -> object:
        read.append(folder.name)
        return progress(folder)

    monkeypatch.setattr(reading, "read_progress", counted)
    for name in "abc":
        write_run(tmp_path / name, done=2)
    reader = Reader(lambda folder: False)
    reader.read(scan(tmp_path))
    assert sorted(read) == ["a", "b", "c"]
    add(tmp_path / "b", {"type": "note"})
    reader.read(scan(tmp_path))
    assert sorted(read) == ["a", "b", "b", "c"]


@pytest.mark.parametrize(
    ("number", "said"),
    [(None, ""), (0.0, "0"), (12.0, "12"), (999.9, "1k"), (52_345, "52.3k"), (999_999, "1M"), (2.5e9, "2.5G")],
)
def test_amounts_have_three_digits(number: float | None, said: str) -> None:
    assert amount(number) == said


def test_of_many_failures_some_are_printed(tmp_path: Path, cli: Callable) -> None:
    for i in range(13):
        (write_run(tmp_path / f"run{i}", done=1) / "failed.json").write_text('{"reason": "the loss is nan"}')
    out = cli("runs", tmp_path).out
    assert out.count("the loss is nan") == 10
    assert "and 3 more have failed; --filter state=failed --json says why" in " ".join(out.split())

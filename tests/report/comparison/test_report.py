"""The comparison's tables and verdict and the proof, as numbers and as printed."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from qtrain.records.manifest import Proof
from qtrain.report.comparison import tables, text
from qtrain.report.comparison.page import write_report
from qtrain.report.comparison.read import ComparisonData, read_comparison
from qtrain.report.comparison.verdict import Answer
from qtrain.report.proof import print_proof
from tests.report.comparison.report_data import DASH, PROOF, Page, edit, fail, write_comparison


def test_the_tables_hold_means_paired_differences_intervals_and_costs(data: ComparisonData) -> None:
    reached, cost = tables.comparison_tables(data)
    # by hand: differences -0.5, 1.25, 0.25; standard deviation 0.878; t(2, 0.975) 4.3027; half width 2.1809
    assert reached.rows == (
        ("aslr", "82.25 ± 0.90", "", "", "3", "2 to 3"),
        ("multistep", "81.92 ± 0.14", "+0.33", "-1.85..+2.51", "3", "2 to 3"),
    )
    assert [head.replace("\n", " ") for head in reached.head] == [
        *("scheduler", "test accuracy, %", "ASLR minus it, points", "95 % interval", "epochs to multistep's"),
        "best epoch",
    ]
    assert cost.head == ("scheduler", "seconds\nan epoch", "times\nmultistep's", "rates\nto tune")
    assert cost.rows == (("aslr", "2.0", "1.00", "1"), ("multistep", "2.0", "1.00", "5"))


def test_epochs_to_reach_are_counted_by_seed_and_may_be_never(folder: Path) -> None:
    path = folder / "aslr-seed0" / "records.jsonl"  # its baseline ends with 80
    path.write_text(
        path.read_text().replace('"validation_accuracy": 80.0, "images', '"validation_accuracy": 79.9, "images')
    )
    path = folder / "aslr-seed1" / "records.jsonl"
    path.write_text(path.read_text().replace('"validation_accuracy": 71.0', '"validation_accuracy": 81.0'))
    data = read_comparison(folder)
    assert tables.reaching(data, "aslr") == [None, 2, 3]
    assert tables.accuracy_table(data).rows[0][4] == "2 to 3 (1 never)"


def test_counts_tuning_runs_and_time_have_columns_where_they_are_known(folder: Path) -> None:
    for seed, extra in enumerate((2500, 3500, 3300)):
        path = folder / f"multistep-seed{seed}" / "records.jsonl"
        counts = json.dumps({"forward_passes_extra": extra, "skipped_steps": 0})
        text = path.read_text().replace('"epoch": 3,', f'"epoch": 3, "counts": {counts},')
        path.write_text(text.replace('"seconds": 6.0, "test_loss"', '"seconds": 3.0, "test_loss"'))
    edit(folder / "comparison.json", lambda v: v.update(tuning={"multistep": 9}))
    cost = tables.cost_table(read_comparison(folder))
    assert [head.replace("\n", " ") for head in cost.head[4:]] == [
        "tuning runs",
        "extra forward passes",
        "skipped steps",
    ]
    assert cost.rows == (("aslr", "2.0", "2.00", "1", "", "", ""), ("multistep", "1.0", "1.00", "5", "9", "3,100", "0"))


def test_a_rival_that_diverged_is_shown_as_such_and_fails_nothing(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "cmp", ("aslr", "multistep", "cosine"), tolerance=5)
    fail(folder, "cosine", 0, 1, 2)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert ["cosine", "diverged", DASH, DASH, DASH, DASH] in page.rows
    assert "cosine seed 1 diverged: the loss is nan at step 2." in page.text
    assert "ASLR holds against multistep: " in page.text
    fail(write_comparison(tmp_path / "part", ("aslr", "multistep", "cosine"), tolerance=5), "cosine", 1)
    row = tables.accuracy_table(read_comparison(tmp_path / "part")).rows[2]
    assert row[:3] == ("cosine", "80.50 ± 0.71 (2 of 3)", "+1.25")  # 81.5 - 80 and 82 - 81


@pytest.mark.parametrize("scheduler", ["aslr", "multistep"])
def test_a_challenger_or_baseline_that_diverged_cannot_hold(folder: Path, scheduler: str) -> None:
    fail(folder, scheduler, 1)
    answer, sentence = text.verdict(read_comparison(folder))
    wanted = {
        "aslr": (Answer.SHORT, "ASLR falls short of multistep: ASLR diverged with seed 1."),
        "multistep": (Answer.UNDECIDED, "Undecided whether ASLR holds against multistep, which diverged with seed 1;"),
    }
    assert answer is wanted[scheduler][0]
    assert sentence.startswith(wanted[scheduler][1])
    assert sentence in Page(write_report(folder).read_text(encoding="utf-8")).text


@pytest.mark.parametrize(
    ("deficit", "tolerance", "holds"), [(0.0, 0.0, True), (1.0, 0.5, False), (1.0, 1.0, True), (-1.0, 0.0, True)]
)
def test_the_verdict_follows_the_tolerance(data: ComparisonData, deficit: float, tolerance: float, holds: bool) -> None:
    theirs = [r for r in data.runs if r.scheduler == "multistep"]
    ours = [dataclasses.replace(r, scheduler="aslr", test_accuracy=r.test_accuracy - deficit) for r in theirs]
    changed = dataclasses.replace(
        data, runs=(*ours, *theirs), tolerance=tolerance
    )  # no spread: the interval is a point
    found, sentence = text.verdict(changed)
    assert found is (Answer.HOLDS if holds else Answer.SHORT)
    assert sentence.startswith("ASLR holds against multistep: " if holds else "ASLR falls short of multistep: ")
    assert f"{abs(deficit):.2f} points {'below' if deficit > 0 else 'above'} (95 % interval" in sentence


def test_a_mean_that_is_ahead_is_undecided_where_its_interval_reaches_too_far_down(data: ComparisonData) -> None:
    assert data.difference("multistep").mean > 0
    found = [dataclasses.replace(data, tolerance=t).answer for t in (1.84, 1.86)]
    assert found == [Answer.UNDECIDED, Answer.HOLDS]


@pytest.mark.parametrize("schedulers", [("aslr", "multistep"), ("aslr", "multistep", "cosine")])
def test_the_table_fits_80_columns_in_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, schedulers: tuple[str, ...]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    tables.print_comparison(write_comparison(tmp_path / "cmp", schedulers))
    lines = capsys.readouterr().out.splitlines()
    table = lines[: 7 + 2 * len(schedulers)]
    assert max(map(len, table)) <= 80
    assert " ".join(table[3].split()) == "aslr 82.25 ± 0.90 - - 3 2 to 3"
    assert " ".join(table[4].split()) == "multistep 81.92 ± 0.14 +0.33 -1.85..+2.51 3 2 to 3"
    assert "multistep 2.0 1.00 5" in [" ".join(line.split()) for line in table]
    assert lines[-1] == text.verdict(read_comparison(tmp_path / "cmp"))[1]
    assert "\x1b" not in "".join(lines)


def test_the_table_prints_where_the_terminal_has_ascii_only(folder: Path) -> None:
    code = "import sys, pathlib, qtrain.report.comparison.tables as t; t.print_comparison(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-W", "error", "-c", code, str(folder)]
    out = subprocess.run(command, env={"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True, cwd=Path.cwd())
    assert b"82.25 +/- 0.90" in out.stdout
    assert out.stdout.isascii()


@pytest.mark.parametrize(("differs", "shown"), [(1, "1"), (None, "not measured")])
def test_the_proof_prints_its_numbers(capsys: pytest.CaptureFixture[str], differs: int | None, shown: str) -> None:
    print_proof(Proof(**{**PROOF, "float32_torch_differs": differs}))
    out = capsys.readouterr().out
    found = [line.split("  ")[-1].strip() for line in out.splitlines()]
    assert found == ["397 of 397", "81.50 %", "81.50 %", "2.5e-08", "4", shown, "7 of 8"]
    assert max(map(len, out.splitlines())) <= 80

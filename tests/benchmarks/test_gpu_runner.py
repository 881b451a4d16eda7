"""Stages run in their time, whatever becomes of one of them: with commands that really sleep, fail and crash."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import runner
from benchmarks.gpu.runner import CRASHED, FAILED, LATE, LOG, OK, SKIPPED, STAGES, Outcome, Runner
from benchmarks.gpu.stages import RECORDS, Stage, evidence
from benchmarks.gpu_evidence import summary_of

SLEEP = ("sleep", "60")
FAST = ("true",)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def stage(name: str, *commands: tuple[str, ...], share: float = 1.0, **options: object) -> Stage:
    return Stage(name, name, commands, share, **options)  # type: ignore[arg-type]


def run(folder: Path, seconds: float, *stages: Stage) -> tuple[list[Outcome], list[str]]:
    told: list[str] = []
    found = Runner(folder, seconds, lambda stage, outcomes, last: told.append(stage.name))
    found.run(stages)
    return found.outcomes, told


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE", 0.3)


def test_a_stage_that_fails_hangs_or_crashes_never_stops_the_next(tmp_path: Path) -> None:
    kills_itself = python("import os; os.kill(os.getpid(), 9)")
    outcomes, told = run(
        tmp_path,
        24,
        stage("fails", python("print('it is like this'); raise SystemExit(3)")),
        stage("hangs", SLEEP, share=0.2),
        stage("crashes", kills_itself),
        stage("is not there", ("no-such-program",)),
        stage("cannot", FAST, why_not="no data"),
        stage("works", FAST),
    )
    found = {o.stage: (o.status, o.reason) for o in outcomes}
    assert found["fails"] == (FAILED, "exit status 3: it is like this")
    assert found["hangs"][0] == LATE
    assert found["hangs"][1].startswith("killed after")
    assert found["crashes"] == (CRASHED, "ended by SIGKILL")
    assert found["is not there"][0] == CRASHED
    assert "no-such-program" in found["is not there"][1]
    assert found["cannot"] == (SKIPPED, "no data")
    assert found["works"] == (OK, "")
    assert told == ["fails", "hangs", "crashes", "is not there", "cannot", "works"]
    written = [json.loads(line) for line in (tmp_path / STAGES).read_text().splitlines()]
    assert [line["stage"] for line in written] == told
    assert [line["status"] for line in written] == [o.status for o in outcomes]


def test_time_that_a_stage_leaves_goes_to_the_later_ones(tmp_path: Path) -> None:
    first, second, last = run(tmp_path, 20, stage("a", FAST), stage("b", FAST), stage("c", FAST))[0]
    assert first.limit_s < 7
    assert 9 < second.limit_s <= 10
    assert 18 < last.limit_s <= 20


def test_time_of_a_stage_that_cannot_run_goes_to_the_others(tmp_path: Path) -> None:
    outcomes, _ = run(tmp_path, 10, stage("a", FAST), stage("b", FAST, why_not="no data"))
    assert outcomes[0].limit_s > 9


def test_commands_of_a_stage_share_its_time_and_each_has_its_turn(tmp_path: Path) -> None:
    outcomes, told = run(tmp_path, 4, stage("a", SLEEP, FAST))
    assert [(o.command, o.status) for o in outcomes] == [(1, LATE), (2, OK)]
    assert told == ["a"]


def test_all_ends_within_the_time_even_where_every_stage_hangs(tmp_path: Path) -> None:
    begun = time.monotonic()
    outcomes, _ = run(tmp_path, 3, *(stage(name, SLEEP) for name in "abc"))
    assert time.monotonic() - begun < 5
    assert {o.status for o in outcomes} == {LATE}


def test_a_stage_without_time_is_not_begun(tmp_path: Path) -> None:
    (outcome,), _ = run(tmp_path, 0.1, stage("a", FAST))
    assert (outcome.status, outcome.reason) == (LATE, "no time was left")


def test_what_a_command_has_started_ends_with_it(tmp_path: Path) -> None:
    """A hanging one's children, one that does not listen, and one that its parent left behind."""
    code = (
        "import subprocess, sys, signal, time; child = ['{0}', '-S', '-c', "
        "'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)']\n"
        "print(subprocess.Popen(child).pid, flush=True)\n{1}"
    )
    for name, rest in (("hangs", "time.sleep(60)"), ("leaves", "time.sleep(0.3)")):
        run(tmp_path / name, 4, stage("a", python(code.format(sys.executable, rest))))
        pid = int((tmp_path / name / LOG).read_text().split()[-1])
        assert is_gone(pid)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, if only a moment later; one that nobody waits for stays as a zombie."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_records_are_counted_and_output_is_kept_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MOST_LOG", 1000)
    write = f"open({str(tmp_path / RECORDS)!r}, 'a').write('{{}}\\n{{}}\\n')"
    outcomes, _ = run(
        tmp_path, 20, stage("a", python(write)), stage("b", python("print('x' * 5000); print('end')")), stage("c", FAST)
    )
    assert [o.records for o in outcomes] == [2, 0, 0]
    text = (tmp_path / LOG).read_text()
    assert len(text) < 1200
    assert "end\n\n=== c 1\n" in text


def test_a_command_is_told_its_minutes_and_finds_the_callers_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/caller")
    show = "import os, sys; print(sys.argv[1], os.environ['PYTHONPATH'])"
    run(tmp_path, 60, stage("a", (*python(show), "{minutes}")))
    minutes, path = (tmp_path / LOG).read_text().splitlines()[-1].split()
    assert 0.7 < float(minutes) < 0.8
    assert path == f"{Path(__file__).parents[2]}{os.pathsep}/of/the/caller"


def check_record(passed: bool) -> str:
    checks = [{"check": "bits", "passed": passed, "detail": "all differ"}]
    return json.dumps({"benchmark": "gpu_check", "network": "CNV_1W1A", "checks": checks}) + "\n"


@pytest.mark.parametrize(
    ("passed", "status", "other", "exit_status"),
    [(True, OK, FAILED, 0), (False, FAILED, OK, 1), (True, LATE, OK, 1), (True, CRASHED, OK, 1)],
)
def test_the_exit_status_is_that_of_the_checks(
    tmp_path: Path, passed: bool, status: str, other: str, exit_status: int
) -> None:
    path = tmp_path / RECORDS
    path.write_text(check_record(False) + check_record(passed))  # the first is an older run's
    stages = [stage("check", FAST, is_check=True), stage("epochs", FAST)]
    outcomes = [Outcome("check", 1, status, "", 1, 2), Outcome("epochs", 1, other, "", 1, 2)]
    found = summary_of(outcomes, stages, path, 1)
    assert found["status"] == exit_status
    assert found["checks"]["passed"] == passed
    assert found["checks"]["failed"] == ([] if passed else ["CNV_1W1A bits: all differ"])


def test_a_terminated_run_ends_its_stage_and_writes_the_summary(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu_evidence", "--device", "cpu", "--tiny"]
    command += ["--out", str(tmp_path), "--stages", "epochs"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
    while not (tmp_path / LOG).exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert json.loads((tmp_path / "summary.json").read_text())["stages"] == []


def test_the_stages_are_those_of_the_docs_and_leave_few_files(tmp_path: Path) -> None:
    stages = evidence("cuda", tmp_path, tmp_path, tiny=False, data_root=str(tmp_path))
    names = [
        "check",
        "forward",
        "epochs",
        "validation",
        "compiled",
        "profile",
        "side by side",
        "deep",
        "bnn_pynq",
        "reproduce",
    ]
    assert [s.name for s in stages] == names
    assert [s.name for s in stages if s.is_check] == ["check", "forward"]
    assert sum(s.share for s in stages) == 12
    assert all(s.why_not is None for s in stages)


@pytest.mark.parametrize(("callers", "wanted"), [("/of/the/caller", ".:/of/the/caller"), ("", ".")])
@pytest.mark.parametrize("target", ["gpu-check", "gpu-evidence"])
def test_make_keeps_the_callers_packages(target: str, callers: str, wanted: str) -> None:
    root = Path(__file__).parents[2]
    make = ["make", "--no-print-directory", "-n", target]  # below make test it would name the folder first
    line = subprocess.run(make, cwd=root, capture_output=True, text=True, check=True).stdout
    assignment = line.split()[0]
    environment = {**os.environ, "PYTHONPATH": callers}
    shown = subprocess.run(
        ["sh", "-c", f"{assignment} printenv PYTHONPATH"], env=environment, capture_output=True, text=True
    )
    assert shown.stdout.strip() == wanted


def test_reproduce_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QTRAIN_DATA", raising=False)
    assert "QTRAIN_DATA" in str(evidence("cpu", tmp_path, tmp_path, tiny=True, data_root=None)[-1].why_not)
    missing = str(tmp_path / "none")
    assert missing in str(evidence("cpu", tmp_path, tmp_path, tiny=True, data_root=missing)[-1].why_not)

"""The whole of `make gpu-evidence` on a CPU with tiny sizes: every stage leaves its records."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.runner import OK, SKIPPED
from benchmarks.gpu_evidence import main
from tests.conftest import absent

ROOT = Path(__file__).parents[2]
RECORDS = {  # of each stage
    "check": {"gpu_check"},
    "forward": {"gpu_check"},
    "epochs": {"epoch"},
    "validation": {"validation"},
    "compiled": {"epoch"},
    "profile": {"ceilings", "profile"},
    "side by side": {"many_runs"},
    "deep": {"epoch"},
    "bnn_pynq": {"train_step"},
}


def evidence(out: Path, minutes: float, *words: str) -> subprocess.CompletedProcess[str]:
    """As a user runs it; without data where QTRAIN_DATA is not set."""
    arguments = " ".join(["--device cpu --tiny", *words])
    command = ["make", "gpu-evidence", f"OUT={out}", f"MAX_MINUTES={minutes}", f"ARGS={arguments}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("stage", RECORDS)
def test_a_stage_leaves_its_records(stage: str, tmp_path: Path) -> None:
    if stage == "compiled" and not _compiles():
        absent("c++", "apt-get install g++")
    run = evidence(tmp_path / "out", 12, f"--stages '{stage}'")
    assert run.returncode == 0, run.stdout + run.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert {outcome["status"] for outcome in summary["stages"]} == {OK}, run.stdout
    records = read(tmp_path / "out/benchmarks.jsonl")
    assert {record["benchmark"] for record in records} == RECORDS[stage]
    assert sum(outcome["records"] for outcome in summary["stages"]) == len(records)
    assert {record["device"] for record in records} == {"cpu"}
    if stage == "check":
        assert summary["checks"]["passed"] > 30
    if stage == "deep":
        assert [record["network"] for record in records] == ["VGG11_4W4A", "RESNET20_4W4A", "WRN20_4W4A"]


@pytest.mark.slow
@pytest.mark.cifar
def test_cells_are_reproduced(cifar_root: Path, tmp_path: Path) -> None:
    run = evidence(tmp_path / "out", 6, f"--stages reproduce --data-root {cifar_root}")
    assert run.returncode == 0, run.stdout + run.stderr
    assert {line["network"] for line in read(tmp_path / "out/reproduce.jsonl")} == {"CNV_1W1A"}


@pytest.mark.slow
def test_stages_in_little_time_end_in_it_and_are_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QTRAIN_DATA", raising=False)
    run = evidence(tmp_path / "out", 0.5)
    assert run.returncode != 0  # the checks cannot have come to their end
    assert "reproduce: skipped; no CIFAR: QTRAIN_DATA or --data-root names its folder" in run.stdout
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["seconds"] < 45
    assert [outcome["stage"] for outcome in summary["stages"]][-1] == "reproduce"
    assert summary["stages"][-1]["status"] == SKIPPED
    assert len(list((tmp_path / "out").iterdir())) <= 8


def _compiles() -> bool:
    return any(os.access(Path(folder) / "g++", os.X_OK) for folder in os.get_exec_path())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--device cpu", "add --tiny"),
        ("--device cpu --tiny --stages checks", "unknown stages checks; there are check, forward, "),
        ("--device cpu --tiny --max-minutes 0", "--max-minutes must be above 0, but got 0"),
    ],
)
def test_wrong_options_are_refused(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_evidence", "--out", str(tmp_path / "out"), *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

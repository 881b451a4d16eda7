"""Killed at its file-system events, one after the other, a command that is repeated ends as an undisturbed one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kills import run, run_for
from benchmarks.torture_scenarios import QUICK
from qtrain.records.files import write_whole

ROOT = Path(__file__).parents[2]
OLD = b"old" * 100
NEW = b"new" * 200


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def found_after_kills(writes: Callable[[Path, bytes], Any], folder: Path) -> set[bytes]:
    """Return what a file holds after a process was killed at each event of writing it."""
    events = run(lambda: writes(Path("file"), NEW), folder).events
    found = set()
    for at in range(1, events + 1):
        (folder / "file").write_bytes(OLD)
        assert run(lambda: writes(Path("file"), NEW), folder, at).killed
        found.add((folder / "file").read_bytes())
    return found


def test_a_file_that_is_written_whole_is_the_old_one_or_the_new_one_at_every_kill(tmp_path: Path) -> None:
    assert found_after_kills(write_whole, tmp_path) == {OLD, NEW}


def test_a_file_that_is_not_is_seen_torn(tmp_path: Path) -> None:
    assert found_after_kills(write, tmp_path) == {OLD, NEW[:300]}


def test_a_kill_runs_no_code_of_the_process(tmp_path: Path) -> None:
    def tidy() -> None:
        try:
            Path("one").write_bytes(b"1")
            Path("two").write_bytes(b"2")
        finally:
            Path("tidied").write_bytes(b"3")

    assert run(tidy, tmp_path).status == 0
    (tmp_path / "tidied").unlink()
    assert run(tidy, tmp_path, 2).killed
    assert not (tmp_path / "tidied").exists()


def test_a_kill_by_the_clock_comes_while_a_process_waits(tmp_path: Path) -> None:
    def wait() -> None:
        Path("began").touch()
        time.sleep(0.15)
        Path("ended").touch()

    ended = run_for(wait, tmp_path)
    assert (ended.status, ended.killed) == (0, False)
    assert ended.events >= 2  # tenths of a second
    (tmp_path / "ended").unlink()
    assert run_for(wait, tmp_path, 1).killed
    assert [path.name for path in tmp_path.iterdir()] == ["began"]


def tortured(*words: str) -> dict[str, Any]:
    """Let the instrument draw kills; it forks, which a process that has trained cannot."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.torture_kills", *words]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["faults"] == [], done.stderr
    return found


@pytest.mark.slow
def test_training_that_is_killed_and_goes_on_ends_as_an_undisturbed_run() -> None:
    found = tortured("--scenarios", "train", "--kills", "4")
    assert found["kills"]["train"] >= 4


@pytest.mark.slow
def test_every_command_may_be_killed_anywhere() -> None:
    found = tortured("--kills", "60")
    assert set(found["kills"]) == set(QUICK)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing_and_one_on_ray_is_begun_again() -> None:
    found = tortured("--scenarios", "workers,ray", "--kills", "6")
    assert set(found["kills"]) == {"workers", "ray"}


@pytest.mark.slow
def test_side_by_side_and_up_to_the_estimate_too(finn_plus: str) -> None:
    found = tortured("--scenarios", "auto,jobs,deploy,estimate", "--kills", "8")
    assert sum(found["kills"].values()) >= 8


@pytest.mark.slow
def test_a_fit_may_be_killed_anywhere_and_while_the_compiler_works(finn_plus: str) -> None:
    found = tortured("--scenarios", "fit,fit-clock", "--kills", "4")
    assert sum(found["kills"].values()) >= 4

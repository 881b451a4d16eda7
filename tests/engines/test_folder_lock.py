"""A folder that one process works on is closed to others until that process has ended, however it ended."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qtrain.engines import lock as folder_lock
from qtrain.training import Interrupted
from tests.checks import check_refusal

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from qtrain.engines import lock as folder_lock
with getattr(folder_lock, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def held(lock: str, folder: Path) -> Iterator[None]:
    """Hold a folder in another process, which is killed at the end."""
    words = [sys.executable, "-W", "ignore", "-c", HOLDER, lock, str(folder)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["alone_in", "alone_on_storage"])
def test_a_folder_is_free_when_its_process_has_been_killed_and_not_before(tmp_path: Path, name: str) -> None:
    folder, lock = tmp_path / "run", getattr(folder_lock, name)
    with held(name, folder):
        with pytest.raises(Interrupted, match="another process"), lock(folder, lambda: True):
            pass
        with pytest.raises(TimeoutError, match=r"has been at work on .*run for 0 seconds"), lock(folder, within=0):
            pass
        with lock(tmp_path / "another"):
            pass
    with lock(folder, lambda: True):
        assert not folder.exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("--resume",), ("CNV_1W1A", "--data", "digits", "--out")])
def test_training_leaves_a_folder_alone_that_another_process_is_at(tmp_path: Path, cli: Callable, words: tuple) -> None:
    with held("alone_in", tmp_path / "run"):
        check_refusal(cli("train", *words, str(tmp_path / "run")), 2, "another process is at work in", "wait for it")
    assert not list(tmp_path.iterdir())


def test_who_looks_sees_a_held_folder_and_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with folder_lock.held_folders() as is_held:
        with held("alone_in", tmp_path / "run"):
            assert is_held(tmp_path / "run")
            assert is_held(tmp_path / "link" / "run")
            assert not is_held(tmp_path / "other")
        assert not is_held(tmp_path / "run")
        with held("alone_in", tmp_path / "run"):  # whose holder would wait if looking had taken it
            assert is_held(tmp_path / "run")


def test_where_nobody_has_locked_anything_nothing_is_held_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock.tempfile, "gettempdir", lambda: str(tmp_path))
    with folder_lock.held_folders() as is_held:
        assert not is_held(tmp_path)
    assert not list(tmp_path.iterdir())

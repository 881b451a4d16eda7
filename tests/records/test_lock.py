"""A folder that one process works on is closed to others until that process has ended, however it ended."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qtrain.errors import UserError
from qtrain.records import lock as folder_lock
from qtrain.records.lock import LOCK, alone_in, held_folders, only_here
from qtrain.training import Interrupted
from tests.checks import check_refusal

ROOT = Path(__file__).parents[2]
# Holds a folder until it is killed, as another user where one is given; says so where another holds it.
HOLDER = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from qtrain.records.lock import alone_in
if sys.argv[3] != "0":
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
try:
    with alone_in(Path(sys.argv[2]), within=0, beside=sys.argv[4] == "beside"):
        print("held", flush=True)
        time.sleep(600)
except TimeoutError:
    print("refused", flush=True)
"""
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users or to mount")


def holder(folder: Path, *, user: int = 0, beside: bool = False, before: Sequence[str] = (), **env: str) -> Any:
    """Start a process that holds a folder until it is killed, and return it with its first word."""
    words = [*before, sys.executable, "-W", "ignore", "-c", HOLDER, str(ROOT), str(folder), str(user)]
    words.append("beside" if beside else "inside")
    process = subprocess.Popen(words, cwd="/", env={**os.environ, **env}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@contextmanager
def held(folder: Path, **how: Any) -> Iterator[None]:
    """Hold a folder in another process, which is killed at the end."""
    process, said = holder(folder, **how)
    try:
        assert said == "held"
        yield
    finally:
        process.kill()
        process.communicate()


def is_free(folder: Path, **how: Any) -> bool:
    """Whether another process can hold a folder now."""
    process, said = holder(folder, **how)
    process.kill()
    process.communicate()
    return bool(said == "held")


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a folder that everybody may write to and reach, which pytest's own are not."""
    place = Path(tempfile.mkdtemp(prefix="qtrain-lock-"))
    place.chmod(0o777)
    yield place
    shutil.rmtree(place)


@pytest.mark.parametrize("beside", [False, True])
def test_a_folder_is_free_when_its_process_has_been_killed_and_not_before(tmp_path: Path, beside: bool) -> None:
    folder = tmp_path / "deep" / "run"
    with held(folder, beside=beside):
        with pytest.raises(Interrupted, match="another process"), alone_in(folder, lambda: True, beside=beside):
            pass
        with pytest.raises(TimeoutError, match=r"has been at work on .*run for 0 seconds"):
            alone_in(folder, within=0, beside=beside).__enter__()
        with alone_in(tmp_path / "another", beside=beside):
            pass
    left = tmp_path / "deep" / (".run.lock" if beside else "run/.lock")
    assert left.is_file()
    with alone_in(folder, lambda: True, beside=beside):
        assert folder.exists() != beside
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]  # was there before


@pytest.mark.parametrize("beside", [False, True])
def test_what_was_made_for_a_lock_goes_with_it_and_what_came_meanwhile_stays(tmp_path: Path, beside: bool) -> None:
    folder = tmp_path / "a" / "b" / "run"
    with alone_in(folder, beside=beside):
        assert list(tmp_path.rglob("*lock"))
    assert not list(tmp_path.iterdir())
    with alone_in(folder, beside=beside):
        folder.mkdir(exist_ok=True)
        (folder / "recipe.yaml").touch()
    assert [path.name for path in folder.iterdir()] == ["recipe.yaml"]
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("words", [("--resume",), ("CNV_1W1A", "--data", "digits", "--out")])
def test_training_leaves_a_folder_alone_that_another_process_is_at(tmp_path: Path, cli: Callable, words: tuple) -> None:
    with held(tmp_path / "run"):
        check_refusal(cli("train", *words, str(tmp_path / "run")), 2, "another process is at work in", "wait for it")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


def test_who_looks_sees_a_held_folder_and_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with held_folders() as is_held:
        assert not is_held(tmp_path / "run")
        assert not (tmp_path / "run").exists()
        with held(tmp_path / "run"):
            assert is_held(tmp_path / "run")
            assert is_held(tmp_path / "link" / "run")
            assert not is_held(tmp_path / "other")
        assert (tmp_path / "run" / LOCK).is_file()  # left over, and free
        assert not is_held(tmp_path / "run")
        with held(tmp_path / "run"):  # who would be refused if looking had taken it
            assert is_held(tmp_path / "run")
        with alone_in(tmp_path / "run"):
            assert is_held(tmp_path / "run")


def test_a_lock_that_is_no_plain_file_neither_holds_who_looks_nor_leads_elsewhere(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOCK)
    with held_folders() as is_held:
        assert not is_held(tmp_path)
    (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="cannot write to"), alone_in(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_temporary_folders_play_no_part(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    with held(tmp_path / "run", TMPDIR=str(tmp_path / "temporary")):
        assert not is_free(tmp_path / "run")


@as_root
@pytest.mark.parametrize(("first", "second"), [(0, NOBODY), (NOBODY, 0)])
def test_two_users_keep_each_other_out_and_take_over_what_the_other_left(public: Path, first: int, second: int) -> None:
    with held(public, user=first):
        assert not is_free(public, user=second)
        with held_folders() as is_held:
            assert is_held(public)
    assert (public / LOCK).stat().st_uid == first
    assert is_free(public, user=second)


@as_root
def test_another_users_folder_is_held_where_the_folder_above_is_closed(public: Path) -> None:
    (public / "run").mkdir()
    (public / "run").chmod(0o777)
    public.chmod(0o755)
    with held(public / "run", user=NOBODY):
        assert not is_free(public / "run")


@as_root
def test_where_nothing_can_be_written_there_is_no_lock_and_no_refusal_but_of_whoever_is_at_work(public: Path) -> None:
    public.chmod(0o755)
    assert is_free(public, user=NOBODY)
    assert not list(public.iterdir())
    with held(public):
        assert not is_free(public, user=NOBODY)


@as_root
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_a_container_that_sees_the_folder_under_another_name_is_kept_out(public: Path) -> None:
    (public / "run").mkdir()
    (public / "mounted").mkdir()
    mount = f'mount --bind {public}/run {public}/mounted && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", mount, "sh")
    with held(public / "run"):
        assert not is_free(public / "mounted", before=before)
    assert is_free(public / "mounted", before=before)


def test_a_thread_may_ask_again_and_another_one_is_kept_out(tmp_path: Path) -> None:
    found = []

    def other() -> None:
        with pytest.raises(TimeoutError):
            alone_in(tmp_path, within=0, again=True).__enter__()
        found.append("refused")

    with alone_in(tmp_path):
        with pytest.raises(UserError, match="another process is at work"), only_here(tmp_path):
            pass
        with only_here(tmp_path, again=True):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        assert not is_free(tmp_path)  # the inner one has let go of nothing
    assert found == ["refused"]
    assert not list(tmp_path.iterdir())


def test_a_process_that_was_forked_inside_holds_nothing(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        assert is_free(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_storage_without_locks_is_said_in_a_line_or_refused(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "fcntl", none)
    monkeypatch.setattr(fcntl, "flock", none)
    said: list[str] = []
    with alone_in(tmp_path / "run", say=said.append), alone_in(tmp_path / "run", again=True, say=said.append):
        pass
    assert len(said) == 1
    assert "knows no locks: see to it" in said[0]
    with pytest.raises(UserError, match=r"knows no locks .*take another folder"), alone_in(tmp_path / "run"):
        pass
    with held_folders() as is_held:
        assert not is_held(tmp_path)


def test_a_file_that_its_last_holder_has_deleted_in_between_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    path.unlink()
    assert not folder_lock._locked(file, path)
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    path.unlink()
    path.touch()  # the next one's
    assert not folder_lock._locked(file, path)
    file = os.open(path, os.O_RDWR)
    assert folder_lock._locked(file, path)
    os.close(file)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux' /proc")
@pytest.mark.parametrize("beside", [False, True])
def test_where_no_folder_can_be_made_it_is_refused_and_not_tried_for_ever(beside: bool) -> None:
    with (
        pytest.raises(UserError, match=r"cannot write to /proc/new/run \(No such file or directory\); name another"),
        only_here(Path("/proc/new/run"), beside=beside),
    ):
        pass

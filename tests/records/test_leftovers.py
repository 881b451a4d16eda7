"""What is cleared says what it is until nothing else of it is left, whenever it is killed."""

from pathlib import Path

from benchmarks.kills import run
from qtrain.records.leftovers import clear
from qtrain.records.lock import LOCK

MARK = ".mark"
NAMES = ("a", "z", MARK, LOCK)


def filled(folder: Path) -> Path:
    (folder / "inside" / "deep").mkdir(parents=True)
    for name in (*NAMES, "inside/b", "inside/deep/c"):
        (folder / name).touch()
    return folder


def test_a_folder_that_is_cleared_keeps_its_mark_to_the_end_at_every_kill(tmp_path: Path) -> None:
    events = run(lambda: clear(Path("whole"), last=MARK), filled(tmp_path / "whole").parent).events
    assert [path.name for path in (tmp_path / "whole").iterdir()] == [LOCK]
    assert events >= 6
    for at in range(1, events + 1):
        place = tmp_path / str(at)
        filled(place / "whole")
        assert run(lambda: clear(Path("whole"), last=MARK), place, at).killed
        left = {path.name for path in (place / "whole").iterdir()}
        assert MARK in left or left == {LOCK}


def test_a_folder_that_is_not_there_is_clear(tmp_path: Path) -> None:
    clear(tmp_path / "nowhere", last=MARK)
    assert not (tmp_path / "nowhere").exists()

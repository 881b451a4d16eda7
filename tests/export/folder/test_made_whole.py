"""A FINN folder is there whole or not at all, wherever its export is killed; a build that is killed is begun again."""

from pathlib import Path

import pytest

from benchmarks.kills import run
from qtrain.errors import UserError
from qtrain.export.compiler import start
from qtrain.export.folder.contents import new_folder
from qtrain.records.lock import LOCK, alone_in
from tests.checks import tree

OUT = Path("new/finn")


def export(out: Path = OUT) -> None:
    with new_folder(out) as work:
        for name in ("model.onnx", "manifest.json"):
            (work / name).write_bytes(b"content" * 100)


def test_killed_anywhere_an_export_may_be_repeated(tmp_path: Path) -> None:
    events = run(export, tmp_path).events
    whole = tree(tmp_path)
    assert {*whole} == {"new", "new/finn", "new/finn/model.onnx", "new/finn/manifest.json"}
    ends = set()
    for at in range(1, events + 1):
        place = tmp_path / f"{at}"
        place.mkdir()
        assert run(export, place, at).killed
        ends.add(made := (place / OUT).exists())
        if not made:
            assert run(export, place).status == 0
        with alone_in(place / OUT, beside=True):  # as whoever works there next
            pass
        assert tree(place) == whole
    assert ends == {True, False}


def test_a_second_export_is_refused_while_the_first_is_at_it(tmp_path: Path) -> None:
    with new_folder(tmp_path / "finn") as work:
        (work / "model.onnx").touch()
        second = run(lambda: export(Path("finn")), tmp_path)
        assert second.status == 1
        assert "another process is at work in finn; wait for it" in second.said
    assert {*tree(tmp_path)} == {"finn", "finn/model.onnx"}
    with pytest.raises(UserError, match="holds other things already"):
        export(tmp_path / "finn")


def test_a_build_that_was_killed_is_cleared_and_no_other_folder_is(tmp_path: Path) -> None:
    out = tmp_path / "estimate"
    mark = start._marked(out)
    assert [*out.iterdir()] == [mark]
    (out / "report").mkdir()
    (out / "report" / "half.json").touch()
    (out / LOCK).touch()
    assert start._marked(out) == mark
    assert {*tree(out)} == {mark.name, LOCK}
    mark.unlink()
    (out / "mine.txt").touch()
    with pytest.raises(UserError, match="exists and is not empty"):
        start._marked(out)
    assert (out / "mine.txt").exists()

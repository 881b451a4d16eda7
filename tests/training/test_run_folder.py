"""A run's folder is made whole or not at all, wherever its process is killed, and what is left is begun again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.kills import run
from qtrain.errors import UserError
from qtrain.experiments.cells import cells_of, check_cells
from qtrain.experiments.comparison.compare import check_comparison
from qtrain.recipe import Recipe, dump_recipe
from qtrain.records.lock import LOCK, only_here
from qtrain.training.folder import (
    BEGUN,
    RECIPE,
    check_free,
    folder_recipe,
    known_folder,
    recorded,
    run_folder,
    unrecorded,
)
from tests.checks import tree

FILES = {"source_network.py": b"class Net: ...\n" * 20, "source_data.py": b"def load(): ...\n" * 20}
EXTRA = {"lr_range": {"suggestion": 0.1}}


def begin(recipe: Recipe, files: dict[str, bytes] = FILES) -> None:
    with only_here(Path("run")), run_folder(Path("run"), recipe, files, EXTRA):
        pass


def test_killed_anywhere_a_folder_is_a_runs_or_free(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    folder = tmp_path / "run"
    events = run(lambda: begin(tiny()), tmp_path).events
    whole = tree(folder)
    assert {*whole} == {RECIPE, BEGUN, *FILES}
    is_run = set()
    for at in range(1, events + 1):
        shutil.rmtree(folder, ignore_errors=True)
        assert run(lambda: begin(tiny()), tmp_path, at).killed
        is_run.add((folder / RECIPE).exists())
        if (folder / RECIPE).exists():
            assert folder_recipe(folder) == tiny()
            with pytest.raises(UserError, match="holds a run already"):
                check_free(folder)
            with only_here(folder), known_folder(folder):
                pass
        else:
            check_free(folder)
            check_cells([(tiny(), folder)])
            assert run(lambda: begin(tiny()), tmp_path).status == 0
        assert tree(folder) == whole
        assert unrecorded(folder) == EXTRA
    assert is_run == {True, False}
    recorded(folder)
    assert unrecorded(folder) == {}


@pytest.mark.slow
def test_killed_anywhere_while_it_is_begun_again_a_folder_is_still_free(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    folder = tmp_path / "run"
    assert run(lambda: begin(tiny()), tmp_path).status == 0
    (folder / RECIPE).unlink()
    shutil.copytree(folder, tmp_path / "left")
    for at in range(1, run(lambda: begin(tiny(), {}), tmp_path).events + 1):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "left", folder)
        assert run(lambda: begin(tiny(), {}), tmp_path, at).killed
        if not (folder / RECIPE).exists():
            assert run(lambda: begin(tiny(), {}), tmp_path).status == 0
        with only_here(folder):
            assert {*tree(folder)} - {LOCK} == {RECIPE, BEGUN}


def test_what_another_start_has_left_goes_and_what_is_a_users_stays(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    folder = tmp_path / "run"
    assert run(lambda: begin(tiny()), tmp_path).status == 0
    (folder / RECIPE).unlink()
    assert run(lambda: begin(tiny(), {}), tmp_path).status == 0
    assert {*tree(folder)} == {RECIPE, BEGUN}
    (folder / RECIPE).unlink()
    (folder / "mine.txt").write_text("of years\n")
    with pytest.raises(UserError, match="holds other things already"):
        check_free(folder)
    assert run(lambda: begin(tiny()), tmp_path).status == 1
    assert (folder / "mine.txt").read_text() == "of years\n"


@pytest.mark.parametrize(
    "left", [(), (LOCK,), (".recipe.yaml.partial",), ("status.json",), (".lr_range.json.partial",)]
)
def test_a_comparison_that_was_killed_before_its_first_run_begins_again(
    left: tuple[str, ...], tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in left:
        (out / name).write_text("half")
    plan = {"schedulers": ("aslr", "multistep"), "seeds": 1, "tolerance": 0.5, "challenger": "aslr"}
    check_comparison(tiny(), out, **plan)
    (out / "mine.txt").touch()
    with pytest.raises(UserError, match="holds other things already"):
        check_comparison(tiny(), out, **plan)


def test_a_cell_of_another_recipe_or_with_other_things_is_refused(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    ((recipe, folder),) = cells_of(tiny(), tmp_path, ["aslr"], 1)
    folder.mkdir()
    check_cells([(recipe, folder)])
    (folder / "mine.txt").touch()
    with pytest.raises(UserError, match="holds other things already"):
        check_cells([(recipe, folder)])
    (folder / RECIPE).write_text(dump_recipe(recipe.replace(epochs=5)))
    with pytest.raises(UserError, match=r"another recipe \(epochs"):
        check_cells([(recipe, folder)])


def test_a_damaged_beginning_is_named(tmp_path: Path) -> None:
    (tmp_path / BEGUN).write_text(json.dumps({"files": 3}))
    with pytest.raises(UserError, match=r"begun\.json is damaged"):
        check_free(tmp_path)

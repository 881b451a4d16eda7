"""A run whose files a failing disk has changed ends bit for bit as it would have, or is refused in one line."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.data import DataSet
from qtrain.errors import UserError
from qtrain.experiments.model import model_of
from qtrain.experiments.run import load_run
from qtrain.experiments.start import read_start
from qtrain.recipe import Recipe
from qtrain.records.files import write_whole
from qtrain.records.runs import RECORDS
from qtrain.training import Interrupted, Silent, checkpoint, train
from qtrain.training.context import RunContext
from qtrain.training.folder import RECIPE, folder_recipe
from tests.checks import tree
from tests.damage import check_flips, flipped, outcome, some_bits
from tests.training.test_resume import STEPS, everything

EPOCHS = 3


@pytest.fixture(scope="module")
def recipe(tiny: Callable[..., Recipe]) -> Recipe:
    """Return the recipe of all runs here."""
    return tiny(network="TFC_1W1A", scheduler="aslr", epochs=EPOCHS, lr=0.05, optimizer="sgd", seed=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, few_digits: DataSet) -> Path:
    """Return the folder of a run that nothing has happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(model_of(recipe), recipe, out, data=few_digits)
    return out


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, few_digits: DataSet) -> Path:
    """Return the folder of a run that was stopped at the end of its second epoch, before that was judged."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    count = iter(range(1, 100))
    context = RunContext(stop=lambda: next(count) == 2 * STEPS)
    with pytest.raises(Interrupted):
        train(model_of(recipe), recipe, out, context, data=few_digits)
    return out


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder to damage."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


@pytest.fixture
def between(recipe: Recipe, few_digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run that ended behind the checkpoint of its second epoch, which its best weights are of."""
    out = tmp_path / "between"

    class Killed(BaseException):
        """In place of a kill."""

    class Watch(Silent):
        def epoch(self, record: dict, epochs: int) -> None:
            if record["epoch"] == 3:
                raise Killed

    with pytest.raises(Killed):
        train(model_of(recipe), recipe, out, RunContext(watch=Watch()), data=few_digits)
    return out


def damage(path: Path, seed: int = 0) -> None:
    content = path.read_bytes()
    path.write_bytes(flipped(content, some_bits(content, 3, seed)[1]))


def names(folder: Path) -> list[str]:
    """Return the folder's files but TensorBoard's, whose names are of the hour."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("events"))


def go_on(folder: Path, recipe: Recipe, data: DataSet) -> None:
    train(model_of(recipe), recipe, folder, data=data, resume=True)


def test_a_run_keeps_its_previous_checkpoint_until_its_end(stopped: Path, whole: Path) -> None:
    last = checkpoint.load(stopped / checkpoint.LAST)["position"]
    before = checkpoint.load(stopped / checkpoint.PREVIOUS)["position"]
    assert (last["epoch"], last["step"]) == (1, STEPS)
    assert (before["epoch"], before["step"]) == (1, 0)
    assert not (whole / checkpoint.PREVIOUS).exists()


@pytest.mark.parametrize("how", ["flipped", "empty", "lost"])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    run: Path, whole: Path, recipe: Recipe, few_digits: DataSet, capfd: pytest.CaptureFixture[str], how: str
) -> None:
    last = run / checkpoint.LAST
    if how == "flipped":
        damage(last)
    elif how == "empty":
        last.write_bytes(b"")
    else:
        last.unlink()
    go_on(run, recipe, few_digits)
    said = "is lost" if how == "lost" else "is damaged"
    line = f"qtrain: {last} {said}; the run goes on from the checkpoint before it, and trains what came since again\n"
    assert capfd.readouterr().err == line
    assert everything(run) == everything(whole)
    assert names(run) == names(whole)


def test_going_back_past_better_weights_ends_with_the_same(
    between: Path, whole: Path, recipe: Recipe, few_digits: DataSet
) -> None:
    """The best weights are of an epoch that the checkpoint gone back to knows nothing of."""
    last = checkpoint.load(between / checkpoint.LAST)["position"]
    before = checkpoint.load(between / checkpoint.PREVIOUS)["position"]
    assert last["best_epoch"] == last["epoch"] == before["epoch"] + 1 > before["best_epoch"]
    damage(between / checkpoint.LAST)
    go_on(between, recipe, few_digits)
    assert everything(between) == everything(whole)


def test_a_run_that_went_back_can_go_back_again(run: Path, whole: Path, recipe: Recipe, few_digits: DataSet) -> None:
    damage(run / checkpoint.LAST)
    count = iter(range(1, 100))
    context = RunContext(stop=lambda: next(count) == 2)
    with pytest.raises(Interrupted):
        train(model_of(recipe), recipe, run, context, data=few_digits, resume=True)
    damage(run / checkpoint.LAST, seed=1)
    go_on(run, recipe, few_digits)
    assert everything(run) == everything(whole)


def test_two_damaged_checkpoints_are_refused_and_left_alone(run: Path, recipe: Recipe, few_digits: DataSet) -> None:
    damage(run / checkpoint.LAST)
    damage(run / checkpoint.PREVIOUS)
    before = tree(run)
    with pytest.raises(UserError, match=r"run/checkpoint.pt is damaged .*; train again or take an older copy"):
        go_on(run, recipe, few_digits)
    assert tree(run) == before


@pytest.mark.parametrize("how", ["flipped", "lost", "older", "no number"])
def test_damaged_best_weights_are_heard_of_before_hours_of_training(
    run: Path, recipe: Recipe, few_digits: DataSet, how: str
) -> None:
    best = run / checkpoint.BEST
    says = "best.pt is damaged"
    if how == "flipped":
        damage(best)
    elif how == "lost":
        best.unlink()
        says = "holds no best.pt"
    elif how == "no number":
        checkpoint.save(best, checkpoint.load(best) | {"epoch": "two"})
        says = "best.pt is damaged (epoch is 'two')"
    else:
        checkpoint.save(best, checkpoint.load(best) | {"epoch": 0})
        says = "best.pt has weights of epoch 0, the best were those of 1; put them back there"
    before = tree(run)
    with pytest.raises(UserError, match=re.escape(says)):
        go_on(run, recipe, few_digits)
    assert tree(run) == before


def test_a_lost_record_is_heard_of(run: Path, recipe: Recipe, few_digits: DataSet) -> None:
    lines = (run / RECORDS).read_text().splitlines(keepends=True)
    (run / RECORDS).write_text("".join(lines[:1]))
    with pytest.raises(UserError, match=re.escape("records.jsonl is damaged (epochs 1 to 1 are expected, but it has")):
        go_on(run, recipe, few_digits)


def test_a_changed_recipe_is_held_against_what_the_run_was_begun_with(run: Path, recipe: Recipe) -> None:
    path = run / RECIPE
    path.write_text(path.read_text().replace("lr: 0.05", "lr: 0.07"))
    with pytest.raises(UserError) as raised:
        folder_recipe(run)
    assert str(raised.value) == (
        f"{path} differs from what the run was begun with, by records.jsonl lr 0.05 instead of 0.07; put that back, or "
        "train anew in another folder"
    )


@pytest.mark.parametrize("count", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_a_bit_flipped_in_any_file_of_a_run_is_heard_of_where_it_matters(
    stopped: Path, tmp_path: Path, count: int
) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))

    def bits(path: Path) -> list[int]:
        return some_bits(path.read_bytes(), count)

    for name in (checkpoint.LAST, checkpoint.PREVIOUS, checkpoint.BEST):
        path = run / name

        def read(path: Path = path) -> bool:
            checkpoint.load(path)
            return True

        assert check_flips(path, bits(path), read) == len(bits(path))
    path = run / RECIPE
    check_flips(path, bits(path), lambda: folder_recipe(run))
    path = run / RECORDS
    assert check_flips(path, bits(path), lambda: folder_recipe(run)) > 0.9 * len(bits(path))


@pytest.mark.slow
def test_a_run_with_a_bit_flipped_anywhere_ends_as_it_would_have_or_says_why_not(
    stopped: Path, whole: Path, tmp_path: Path, recipe: Recipe, few_digits: DataSet
) -> None:
    expected = everything(whole)
    assert len(names(stopped)) == 5
    for name in names(stopped):
        for bit in some_bits((stopped / name).read_bytes(), 10, seed=3):
            run = Path(shutil.copytree(stopped, tmp_path / "run"))
            (run / name).write_bytes(flipped((run / name).read_bytes(), bit))
            refused = outcome(lambda run=run: go_on(run, folder_recipe(run), few_digits))
            if refused is None:
                assert everything(run) == expected
            else:
                (line,) = refused
                assert name in (checkpoint.BEST, RECIPE, RECORDS)
                assert name in line
                assert "\n" not in line
            shutil.rmtree(run)


def test_a_finished_run_is_never_read_with_a_flipped_bit(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    for bit in some_bits((whole / checkpoint.BEST).read_bytes(), 8):
        (run / checkpoint.BEST).write_bytes(flipped((whole / checkpoint.BEST).read_bytes(), bit))
        with pytest.raises(UserError, match=r"best.pt is damaged"):
            load_run(run)
        for given in (run, run / checkpoint.BEST):  # as --init-from and --teacher read it
            with pytest.raises(UserError, match=r"best.pt is damaged"):
                read_start(given)


def test_a_checkpoint_that_the_disk_does_not_hold_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / checkpoint.LAST
    state = {"recipe": {}, "model": {}}
    checkpoint.save(path, {**state, "epoch": 1})
    checkpoint.save(path, {**state, "epoch": 2})
    before = tree(tmp_path)
    sync = checkpoint.os.fsync

    def flips(number: int) -> None:
        sync(number)
        partial = tmp_path / f".{checkpoint.LAST}.partial"
        with partial.open("r+b") as file:
            file.seek(100)
            byte = file.read(1)
            file.seek(100)
            file.write(bytes([byte[0] ^ 1]))

    monkeypatch.setattr("os.fsync", flips)
    with pytest.raises(OSError, match="the disk does not hold what was written"):
        checkpoint.save(path, {**state, "epoch": 3})
    assert tree(tmp_path) == before
    assert checkpoint.load(tmp_path / checkpoint.PREVIOUS)["epoch"] == 1


@pytest.mark.parametrize("links", [True, False])
def test_the_old_file_is_kept_behind_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
    path = tmp_path / "file"
    for content in (b"1", b"2", b"3"):
        write_whole(path, content, before=tmp_path / "before")
    assert tree(tmp_path).keys() == {"file", "before"}
    assert (path.read_bytes(), (tmp_path / "before").read_bytes()) == (b"3", b"2")


def test_both_names_of_one_file_as_a_kill_leaves_them_come_apart_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"1")
    (tmp_path / "before").hardlink_to(path)
    write_whole(path, b"2", before=tmp_path / "before")
    assert tree(tmp_path).keys() == {"file", "before"}
    assert (path.read_bytes(), (tmp_path / "before").read_bytes()) == (b"2", b"1")

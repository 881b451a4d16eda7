"""A disk that is full at any moment: the file is named, what is safe is said, and the printed command goes on."""

import resource
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qtrain.experiments.run import resume_run, train_recipe
from qtrain.experiments.status import CellsStatus
from qtrain.recipe import Recipe
from qtrain.records.runs import read_records
from qtrain.schedulers.catalogue import DEFAULT
from qtrain.training import Callback, Interrupted, RunContext, TrainingRun
from tests.checks import check_refusal, tree

SMALL = ["--data=digits", "--width=0.125", "--train-size=60", "--validation-size=40", "--batch-size=20", "--epochs=2"]
RECORDS_FIT = 20_000  # bytes, of which a checkpoint has more
GRAPH_FITS = 500_000  # bytes, of which the test images have more


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Inside, the kernel lets no file of this process grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]) -> Path:
    """Return a run that was stopped in its second epoch."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    count = iter(range(100))
    with pytest.raises(Interrupted):
        train_recipe(tiny(), out, RunContext(stop=lambda: next(count) == 4))
    return out


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (400, "cannot write to run (File too large); name another folder"),
        (
            RECORDS_FIT,
            "run/best.pt: File too large; nothing of the run is left; once there is room, go on with: qtrain",
        ),
    ],
)
def test_a_run_that_never_came_to_a_checkpoint_leaves_nothing(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["qtrain"])
    with largest_file(size):
        outcome = cli("train", "CNV_1W1A", *SMALL, "--out", "run", "--log", "none", "--quiet")
    check_refusal(outcome, 2, said)
    assert tree(tmp_path) == {}


def test_a_run_that_was_saved_says_as_of_when_and_what_goes_on(
    cli: Callable, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["qtrain"])
    shutil.copytree(stopped, "run")
    before = tree(tmp_path / "run")
    with largest_file(RECORDS_FIT):
        outcome = cli("train", "--resume", "run", "--log", "none", "--quiet")
    check_refusal(outcome, 2, ": File too large; the run is saved as of run/checkpoint.pt; once there is room")
    *_, again = outcome.err.strip().partition("go on with: qtrain ")
    for name in ("checkpoint.pt", "best.pt", "recipe.yaml"):
        assert tree(tmp_path / "run")[name] == before[name]
    assert cli(*again.split()).status == 0
    assert read_records(tmp_path / "run")[-1]["type"] == "result"


def test_records_that_cannot_grow_are_named(stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    size = (tmp_path / "run" / "records.jsonl").stat().st_size
    with largest_file(size + 10), pytest.raises(OSError, match=r"File too large: '.*run/records\.jsonl'"):
        resume_run(tmp_path / "run", RunContext(log=()))
    with_half = (tmp_path / "run" / "records.jsonl").read_text()
    assert not with_half.endswith("\n")
    assert resume_run(tmp_path / "run").epochs == 2


def test_a_logger_whose_disk_is_full_is_left_out_in_one_line(
    tmp_path: Path, tiny: Callable[..., Recipe], capfd: pytest.CaptureFixture[str]
) -> None:
    """TensorBoard's own writer has a thread that dies of it, with a traceback."""
    said: list[str] = []
    out = tmp_path / "run"

    class Filled(Callback):
        def on_train_begin(self, run: TrainingRun) -> None:
            (events,) = out.glob("events.*")
            events.unlink()
            events.symlink_to("/dev/full")

    result = train_recipe(tiny(), out, RunContext(log=("tensorboard",), say=said.append), callbacks=[Filled()])
    assert result.epochs == 2
    (line,) = said
    assert "logger tensorboard failed (" in line
    assert "No space left on device" in line
    assert "/run/events.out" in line
    assert capfd.readouterr().err == ""


def test_a_cell_that_cannot_write_ends_a_comparison_and_is_not_counted_as_failed(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["qtrain"])
    words = ["compare", "CNV_1W1A", *SMALL, "--seeds", "1", "--out", "cmp", "--log", "none", "--quiet"]
    with largest_file(RECORDS_FIT):
        outcome = cli(*words)
    check_refusal(outcome, 2, f"cmp/{DEFAULT}-seed0/best.pt: File too large; finished runs, and the last checkpoints")
    assert outcome.err.strip().endswith(f"go on with: qtrain {shlex.join(words)}")
    assert not list((tmp_path / "cmp").glob("*/failed.json"))
    assert cli(*words).status == 0


@pytest.mark.slow
def test_a_cell_that_cannot_write_ends_a_sweep_which_goes_on_without_again(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["qtrain"])
    words = ["sweep", "CNV", "--weight-bits", "1", *SMALL, "--out", "swp", "--log", "none", "--quiet"]
    with largest_file(RECORDS_FIT):
        outcome = cli(*words)
    check_refusal(
        outcome, 2, "best.pt: File too large; cells that have ended, and checkpoints of the others, are in swp"
    )
    *_, again = outcome.err.strip().partition("go on with: qtrain ")
    assert again == "sweep --resume swp --log none"
    assert cli(*again.split()).status == 0


@pytest.mark.parametrize(
    ("size", "said"), [(RECORDS_FIT, "/qtrain-qonnx-"), (GRAPH_FITS, "qtrain: run/finn: not all of it was written (")]
)
def test_an_export_leaves_nothing_and_blames_no_network(
    cli: Callable, tmp_path: Path, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, size: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["qtrain"])
    train_recipe(tiny(epochs=1), "run")
    before = tree(tmp_path)
    with largest_file(size):
        outcome = cli("export", "run", "--quiet")
    check_refusal(outcome, 2, said, "; the run is as it was, and no run/finn is left; once there is room, go on")
    assert tree(tmp_path) == before


def test_a_status_that_cannot_be_written_is_not_the_end_of_the_work(tmp_path: Path) -> None:
    (tmp_path / ".status.json.partial").symlink_to("/dev/full")
    with CellsStatus(tmp_path, {"a": 1}) as status:
        status.told("a", {"event": "start", "title": "", "steps": 1, "done": 0})
    assert status.state == "done"

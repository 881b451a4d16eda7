"""Runs side by side: equal to one after the other, saved whatever ends them, and told in one line what ended them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch

from qtrain.engines.processes import SideBySide, threads_each
from qtrain.engines.task import Died, in_turn
from qtrain.errors import UserError
from qtrain.experiments import compare
from qtrain.experiments.cells import Cell, CellTask, cells_of
from qtrain.experiments.comparison.grid import compare_grid
from qtrain.experiments.run_cells import run_cells
from qtrain.recipe import Recipe, dump_recipe
from qtrain.records.lock import alone_in
from qtrain.records.runs import RECORDS, read_records
from qtrain.schedulers.catalogue import DEFAULT
from qtrain.training import Interrupted
from qtrain.training.context import RunContext
from tests.engines.side_by_side_tasks import Endless, Killed, Wrong

pytestmark = pytest.mark.slow  # processes that import torch

ROOT = Path(__file__).parents[2]
NETWORKS = ("CNV_1W1A", "CNV_2W2A")
TIMES = ("seconds", "images_per_second", "date", "threads", "commit", "resumed")
COMMAND = ("compare", "--config=mine.yaml", "--seeds=1", "--tolerance=100", "--out=cmp")
MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom qtrain.cli import main; main()"


@pytest.fixture(scope="module", autouse=True)
def same_threads() -> Iterator[None]:
    """Give this process as many threads as each of two jobs has."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads_each(2))
    yield
    torch.set_num_threads(before)


def left_by(run: Path) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """Return what a run has written, without times, and its best weights."""
    records = [{k: v for k, v in record.items() if k not in TIMES} for record in read_records(run)]
    return records, torch.load(run / "best.pt", weights_only=True)["model"]


def assert_equal_runs(one: Path, other: Path) -> None:
    (records, weights), (records2, weights2) = left_by(one), left_by(other)
    assert records == records2
    assert weights.keys() == weights2.keys()
    assert all(torch.equal(tensor, weights2[name]) for name, tensor in weights.items())


def lines(run: Path) -> int:
    return (run / RECORDS).read_text().count("\n") if (run / RECORDS).exists() else 0


@dataclass
class Grid:
    """Two networks' comparisons, their cells run side by side, and what was seen of it."""

    out: Path
    recipes: list[Recipe]
    said: list[str] = field(default_factory=list)
    processes: set[int | None] = field(default_factory=set)
    found: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]) -> Grid:
    wild = {"l4mom": {"alpha": 1e30}}
    recipes = [tiny(network=name, epochs=2, scheduler_options=wild) for name in NETWORKS]
    grid = Grid(tmp_path_factory.mktemp("grid") / "out", recipes)

    def say(line: str) -> None:
        grid.said.append(line)
        grid.processes.update(process.pid for process in active_children())

    options: dict[str, Any] = {"schedulers": ("aslr", "l4mom", "multistep"), "seeds": 1, "tolerance": 100}
    grid.found = compare_grid(recipes, grid.out, engine=SideBySide(2), context=RunContext(say=say), **options)
    return grid


def test_each_run_has_the_records_and_weights_that_it_has_alone(grid: Grid, tmp_path: Path) -> None:
    for recipe in grid.recipes:
        alone = recipe.replace(scheduler_options={})
        cells = cells_of(alone, tmp_path / recipe.network, ("aslr", "multistep"), 1)
        tasks = [CellTask(folder.name, recipe, folder) for recipe, folder in cells]
        for (_, folder), (_, cell) in zip(cells, in_turn(tasks), strict=True):
            together = grid.out / recipe.network / folder.name
            assert_equal_runs(together, folder)
            assert cell.test_accuracy == grid.found[recipe.network].by_seed(cell.scheduler)[0]


def test_the_summaries_have_the_plan_s_order_and_a_run_that_diverges_is_only_a_failed_cell(grid: Grid) -> None:
    assert json.loads((grid.out / "grid.json").read_text())["networks"] == list(NETWORKS)
    for name in NETWORKS:
        summary = json.loads((grid.out / name / "comparison.json").read_text())
        assert [cell["scheduler"] for cell in summary["cells"]] == ["aslr", "multistep"]
        assert [cell["scheduler"] for cell in summary["failed"]] == ["l4mom"]
        assert [cell.scheduler for cell in grid.found[name].cells] == ["aslr", "l4mom", "multistep"]
    assert len(grid.said) == 6
    assert sum("failed: the loss is " in line for line in grid.said) == 2


def test_two_jobs_start_two_processes_for_all_runs(grid: Grid) -> None:
    assert len(grid.processes) == 2
    assert os.getpid() not in grid.processes
    assert not active_children()


def test_what_has_ended_is_read_and_no_process_is_started_for_it(grid: Grid) -> None:
    before = {path: path.read_bytes() for path in grid.out.rglob(RECORDS)}
    started = []
    again = compare_grid(
        grid.recipes,
        grid.out,
        engine=SideBySide(2),
        schedulers=("aslr", "l4mom", "multistep"),
        seeds=1,
        tolerance=100,
        context=RunContext(say=lambda _: started.extend(active_children())),
    )
    assert again == grid.found
    assert not started
    assert {path: path.read_bytes() for path in grid.out.rglob(RECORDS)} == before


def start(words: tuple[str, ...], cwd: Path) -> subprocess.Popen[str]:
    """Start a qtrain command that heads a process group, as one at a terminal does."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads_each(2))}
    command, pipe = [sys.executable, "-c", MAIN, *words], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def wait_for(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_an_interrupted_command_goes_on_to_the_results_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Recipe]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tiny(epochs=25, train_size=20, validation_size=20)
    Path("mine.yaml").write_text(dump_recipe(recipe))
    runs = [Path("cmp") / f"{scheduler}-seed0" for scheduler in (DEFAULT, "multistep")]
    process = start((*COMMAND, "--jobs=2"), tmp_path)
    wait_for(process, lambda: all(lines(run) >= 2 for run in runs))
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C at a terminal: parent and workers
    shown, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.count("\n") == 1
    assert err.endswith(f"; go on with: qtrain {' '.join(COMMAND)} --jobs=2\n")
    assert all(f"saved in {run.resolve()};" in err for run in runs)
    assert "test accuracy" not in shown
    for out in ("cmp", "undisturbed"):
        compare(recipe, Path(out), seeds=1)
    for run in runs:
        assert_equal_runs(run, Path("undisturbed") / run.name)


def test_a_worker_whose_parent_is_killed_saves_and_keeps_others_out_until_then(tmp_path: Path) -> None:
    endless = Endless(tmp_path / "endless")
    code = "import sys; from pathlib import Path; from qtrain.engines.processes import SideBySide\n"
    code += "from tests.engines.side_by_side_tasks import Endless\nlist(SideBySide(1)([Endless(Path(sys.argv[1]))]))"
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(endless.folder)], cwd=ROOT, text=True)
    wait_for(process, (endless.folder / "begun").exists)
    with pytest.raises(Interrupted, match="another process"), alone_in(endless.folder, stop=lambda: True):
        pass
    with alone_in(tmp_path / "another"):
        pass
    process.kill()
    with alone_in(endless.folder):
        assert (endless.folder / "saved").exists()
    process.wait()


def test_a_killed_run_is_one_line_and_the_run_beside_it_is_saved(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    cells = cells_of(tiny(epochs=200), tmp_path, ("aslr", "multistep"), 1)
    checkpoints = {folder.name: folder / "checkpoint.pt" for _, folder in cells}
    killed_at: list[float] = []

    def kill() -> None:
        while not all(path.exists() for path in checkpoints.values()):
            time.sleep(0.01)
        child = active_children()[0]
        assert child.pid is not None
        killed_at.append(time.time())
        os.kill(child.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with pytest.raises(UserError, match=r": its process was ended by SIGKILL \(is memory short\?") as raised:
        list(run_cells(cells, tmp_path, engine=SideBySide(2)))
    thread.join()
    (other,) = [name for name in checkpoints if not str(raised.value).startswith(f"{name}: ")]
    assert checkpoints[other].stat().st_mtime >= killed_at[0] - 0.1  # a file's clock is coarser
    assert lines(checkpoints[other].parent) < 200
    assert not active_children()


def test_a_death_costs_one_task_and_an_error_ends_the_others_saved(tmp_path: Path) -> None:
    endless = Endless(tmp_path / "endless")
    tasks = [endless, Killed(tmp_path / "killed", endless.folder / "begun"), Wrong(tmp_path / "wrong")]
    told: list[tuple[str, str]] = []
    ended: list[tuple[str, Any]] = []

    def run() -> None:
        for task, outcome in SideBySide(2)(tasks, told=lambda name, event: told.append((name, event["event"]))):
            ended.append((task.name, outcome))

    with pytest.raises(RuntimeError, match=r"(?s)^wrong: Traceback .*Strange: never mind"):
        run()
    assert ended == [("killed", Died("its process was ended by SIGKILL (is memory short? then give fewer --jobs)"))]
    assert told == [("endless", "start")]
    assert (endless.folder / "saved").exists()
    assert not active_children()


def test_stop_saves_what_runs(tmp_path: Path) -> None:
    endless = Endless(tmp_path / "endless")
    with pytest.raises(Interrupted, match=f"^saved in {endless.folder}$"):
        list(SideBySide(1)([endless], stop=(endless.folder / "begun").exists))
    assert (endless.folder / "saved").exists()


@pytest.mark.parametrize("command", [("compare", "CNV_1W1A", "--data=digits"), ("reproduce", "table3")])
@pytest.mark.parametrize(
    ("words", "ranks", "says"),
    [
        (["--jobs=0"], "1", "jobs must be 1 or more, but got 0"),
        (["--jobs=many"], "1", "jobs must be a whole number, but got 'many'"),
        ([], "2", "torchrun's 2 processes train one run together"),
    ],
)
def test_wrong_jobs_and_torchrun_are_one_line_and_leave_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Callable,
    command: tuple[str, ...],
    words: list[str],
    ranks: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", ranks)
    outcome = cli(*command, *words)
    assert outcome.status == 2
    assert outcome.err.startswith(f"qtrain: {says}")
    assert outcome.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_cell_that_ended_counts_once_where_it_comes_twice(grid: Grid) -> None:
    cells = cells_of(grid.recipes[0], grid.out / NETWORKS[0], ("aslr", "l4mom", "multistep"), 1)
    found = list(run_cells([*cells, *cells], grid.out, engine=SideBySide(2)))
    assert [type(cell) for cell in found] == [Cell] * 3

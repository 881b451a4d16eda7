"""Tasks on a real Ray cluster of two nodes: killed, stopped, failing; results are those of undisturbed runs."""

import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qtrain.engines import ray as ray_engine
from qtrain.engines.ray import OnRay
from qtrain.engines.task import Died, in_turn
from qtrain.errors import UserError
from qtrain.experiments import compare
from qtrain.experiments.cells import CellTask
from qtrain.recipe import Recipe
from qtrain.records.runs import RECORDS, read_records
from qtrain.records.status import StatusFile
from qtrain.schedulers.catalogue import DEFAULT
from qtrain.training import Interrupted, checkpoint
from tests.engines.ray_tasks import Failing

ROOT = Path(__file__).parents[2]
# Beside times, how often a run was cut.
CLOCK = {"seconds", "images_per_second", "date", "resumed"}
EPOCHS = 6


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Return a cluster of two nodes of one core, the caller at the first, connected once for all tests."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # else everything else on this machine goes first
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            cluster.add_node(num_cpus=1)
            with OnRay(cluster.address).connected():
                yield cluster
        finally:
            cluster.shutdown()


def plain(folder: Path) -> list[dict[str, Any]]:
    """A run's records without times."""
    return [{k: v for k, v in record.items() if k not in CLOCK} for record in read_records(folder)]


def results(found: Iterable[tuple[CellTask, Any]]) -> dict[str, tuple[float, list]]:
    """Test accuracy and records by the folder's name; none may come twice."""
    by_name: dict[str, tuple[float, list]] = {}
    for task, cell in found:
        assert task.folder.name not in by_name
        by_name[task.folder.name] = cell.test_accuracy, plain(task.folder)
    return by_name


@pytest.fixture(scope="module")
def trainings(tiny: Callable[..., Recipe]) -> Callable[[Path], list[CellTask]]:
    """Return a function that plans four runs of 15 steps an epoch in a folder."""

    def make(out: Path) -> list[CellTask]:
        recipes = [tiny(epochs=EPOCHS, train_size=300, seed=seed) for seed in range(4)]
        return [CellTask(f"seed{recipe.seed}", recipe, out / f"seed{recipe.seed}") for recipe in recipes]

    return make


@pytest.fixture(scope="module")
def undisturbed(
    trainings: Callable[[Path], list[CellTask]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[float, list]]:
    """Return test accuracy and records of these runs, one after the other in this process, by name."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as on the nodes
    try:
        tasks = trainings(tmp_path_factory.mktemp("undisturbed"))
        return results(in_turn(tasks))
    finally:
        torch.set_num_threads(threads)


class Told:
    """Keeps events, and does something at the first that is wanted."""

    def __init__(self, wanted: Callable[[str, dict[str, Any]], bool], act: Callable[[], object]):
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.acted = False
        self._wanted, self._act = wanted, act

    def __call__(self, name: str, event: dict[str, Any]) -> None:
        self.events.append((name, event))
        if not self.acted and self._wanted(name, event):
            self.acted = True
            self._act()

    def starts(self) -> dict[str, list[int]]:
        """By name, the steps that were done already at each start."""
        found: dict[str, list[int]] = {}
        for name, event in self.events:
            if event["event"] == "start":
                found.setdefault(name, []).append(event["done"])
        return found


class SecondNode:
    """The node that may be killed: the caller is not there.

    Attributes:
        killed: the processes that its raylet had.
        lost: the name of the run that was killed with it.
    """

    def __init__(self, cluster: Any):
        import psutil

        self._cluster, (self._node,) = cluster, cluster.worker_nodes
        self._raylet = psutil.Process(self._node.all_processes["raylet"][0].process.pid)
        self.killed: list[Any] = []
        self.lost = ""

    def is_at(self, name: str, event: dict[str, Any]) -> bool:
        """Whether it is in the middle of this run: it has its lock."""
        lock = f"/{name}/.lock"
        self.lost = name
        files = [file.path for child in self._raylet.children() for file in child.open_files()]
        return 2 <= event.get("epoch", 0) <= EPOCHS // 2 and any(path.endswith(lock) for path in files)

    def kill(self) -> None:
        """Kill its raylet with SIGKILL."""
        self.killed = self._raylet.children()
        self._raylet.kill()
        self._cluster.worker_nodes.remove(self._node)


@pytest.mark.slow
def test_a_killed_node_loses_no_cell_and_counts_none_twice(
    cluster: Any, trainings: Callable, undisturbed: dict[str, tuple[float, list]], tmp_path: Path
) -> None:
    node = SecondNode(cluster)
    told = Told(node.is_at, node.kill)
    try:
        found = results(OnRay(cluster.address)(trainings(tmp_path), told=told))
    finally:
        cluster.add_node(num_cpus=1)
    assert found == undisturbed
    assert node.killed
    assert not [process for process in node.killed if process.is_running()]
    first, *_, last = told.starts()[node.lost]
    assert first == 0
    assert last > 0  # it went on from its checkpoint
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(undisturbed)  # no lock is left


@pytest.mark.slow
def test_stop_saves_what_runs_and_the_same_call_goes_on_to_equal_results(
    cluster: Any, trainings: Callable, undisturbed: dict[str, tuple[float, list]], tmp_path: Path
) -> None:
    told = Told(lambda _, event: event["event"] == "epoch", lambda: None)
    with pytest.raises(Interrupted, match="stopped in epoch"):
        list(OnRay(cluster.address)(trainings(tmp_path), stop=lambda: told.acted, told=told))
    assert all((path / checkpoint.LAST).exists() for path in tmp_path.iterdir())
    assert results(OnRay(cluster.address)(trainings(tmp_path))) == undisturbed


@pytest.mark.slow
def test_a_comparison_in_a_relative_folder_runs_on_the_cluster(
    cluster: Any, tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the workers have another working directory
    found = compare(tiny(epochs=1), Path("cmp"), seeds=1, tolerance=100, engine=OnRay(cluster.address))
    assert [cell.folder for cell in found.cells] == [Path(f"cmp/{DEFAULT}-seed0"), Path("cmp/multistep-seed0")]
    assert all((cell.folder / RECORDS).exists() for cell in found.cells)
    assert StatusFile.read(Path("cmp")).cells == {"done": 2, "failed": 0, "running": 0, "waiting": 0}


def lasting(task: CellTask, epochs: int) -> CellTask:
    """The same with another number of epochs."""
    return CellTask(task.name, task.recipe.replace(epochs=epochs), task.folder)


@pytest.mark.slow
def test_a_caller_that_stops_asking_leaves_everything_saved(cluster: Any, trainings: Callable, tmp_path: Path) -> None:
    short, long, waits, _ = trainings(tmp_path)
    tasks = OnRay(cluster.address)([lasting(short, 1), lasting(long, 500), lasting(waits, 500)])
    assert next(tasks)[0].folder == short.folder
    tasks.close()
    begun = [path for path in tmp_path.iterdir() if path != short.folder]
    assert begun
    for folder in begun:
        assert (folder / checkpoint.LAST).exists()
        assert not [record for record in read_records(folder) if record["type"] == "result"]


@pytest.mark.parametrize(("how", "error"), [("error", ValueError), ("sticky", RuntimeError)])
@pytest.mark.slow
def test_what_a_task_raises_comes_here_and_the_others_are_saved(
    cluster: Any, trainings: Callable, tmp_path: Path, how: str, error: type[Exception]
) -> None:
    training = trainings(tmp_path)[0]
    with pytest.raises(error) as raised:
        list(OnRay(cluster.address)([lasting(training, 500), Failing(how, tmp_path / how)]))
    assert how in f"{raised.value} {raised.value.__notes__ if how == 'error' else ''}"
    assert (training.folder / checkpoint.LAST).exists()
    assert len((tmp_path / how / "attempts").read_text().splitlines()) == 1


@pytest.mark.slow
def test_a_task_that_is_killed_each_time_is_yielded_once_as_died(
    cluster: Any, trainings: Callable, tmp_path: Path
) -> None:
    tasks = [
        Failing("killed", tmp_path / "a"),
        Failing("terminated", tmp_path / "b"),
        lasting(trainings(tmp_path)[0], 1),
    ]
    found = list(OnRay(cluster.address, retries=1)(tasks))
    outcomes = {task.folder.name: outcome for task, outcome in found}
    assert sorted(task.folder.name for task, _ in found) == ["a", "b", "seed0"]
    assert outcomes["seed0"].test_accuracy > 0
    for folder in ("a", "b"):
        assert isinstance(outcomes[folder], Died)
        assert "2 times" in outcomes[folder].reason
        assert len((tmp_path / folder / "attempts").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_node_with_another_qtrain_is_named(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "__version__", "9.9")
    with pytest.raises(UserError, match=r"has qtrain .*, the caller 9.9; install the same version"):
        list(OnRay(cluster.address)([Failing("error", tmp_path / "a")]))
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_a_node_with_other_code_of_the_same_version_is_named(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "code_digest", lambda: "0123456789ab")
    with pytest.raises(UserError, match=r"has other code of qtrain .* than the caller \(0123456789ab\); bring every"):
        list(OnRay(cluster.address)([Failing("error", tmp_path / "a")]))
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_a_node_with_other_data_trains_nothing_and_is_named(cluster: Any, trainings: Callable, tmp_path: Path) -> None:
    task = replace(trainings(tmp_path)[0], digest="0" * 64)
    with pytest.raises(UserError, match=r"has other data by the name digits \(.*\) than the caller \(000000000000\)"):
        list(OnRay(cluster.address)([task]))
    assert not task.folder.exists()


@pytest.mark.slow
def test_a_task_too_large_for_every_node_is_refused(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a task wants 2 CPUs and 0\.5 GPUs, but no node"):
        list(OnRay(cluster.address, cpus=2, gpus=0.5)([Failing("error", tmp_path / "a")]))


SCRIPT = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from qtrain.engines.ray import OnRay

@dataclass(frozen=True)
class Waiting:  # a class of the script: it is sent along
    folder: Path
    name = "waiting"

    def __call__(self, watch, stop):
        watch.start("waiting", 1, 0)
        while not stop():
            time.sleep(0.05)
        (self.folder / "state").touch()  # the folder is there, since it is held
        raise KeyboardInterrupt("saved by the task")

print([0], flush=True)

def listening():  # addresses, of the processes that Ray has started
    import psutil
    found = [c for p in psutil.Process().children(recursive=True) for c in p.net_connections("tcp")]
    return sorted({c.laddr.ip.removeprefix("::ffff:") for c in found if c.status == psutil.CONN_LISTEN})

list(OnRay()([Waiting(Path(sys.argv[1]))], told=lambda name, event: print(event, listening(), flush=True)))
"""


@pytest.mark.slow
def test_ctrl_c_reaches_a_local_ray_that_listens_on_the_loopback_alone_and_ends_with_the_call(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "saved")]
    running = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "[0]\n"
    began = running.stdout.readline()  # nothing of Ray's before it
    assert "start" in began
    assert began.endswith("['127.0.0.1']\n")
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (tmp_path / "saved" / "state").is_file()
    assert err.splitlines()[-1].endswith("Interrupted: saved by the task")
    assert not out
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)  # nothing of it is left


@pytest.mark.parametrize(
    ("address", "message"),
    [
        pytest.param(
            "127.0.0.1:9", r"no Ray cluster answers at 127\.0\.0\.1:9; give the address", marks=pytest.mark.slow
        ),
        ("ray://127.0.0.1:10001", r"runs on a machine of the cluster: give ip:port or auto"),
    ],
)
def test_no_cluster_at_the_address_is_said_within_seconds(tmp_path: Path, address: str, message: str) -> None:
    pytest.importorskip("ray")
    begun = time.monotonic()
    with pytest.raises(UserError, match=message):
        ray_engine._check_answer(address)
    assert time.monotonic() - begun < 30


def test_a_ray_that_does_not_start_in_time_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    from ray._private import node

    said = "The current node timed out during startup. "
    assert said in inspect.getsource(node.Node)  # which raises a plain Exception

    def init(*_: Any, **__: Any) -> None:
        raise Exception(f"{said}\nThis could happen")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UserError, match=r"^a local Ray cannot start: The current node timed out during startup"):
        OnRay().connected().__enter__()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install .*\[ray\]"):
        OnRay()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cpus": 0}, "cpus of a task must be above 0"),
        ({"cpus": 1.5}, "whole above 1, but got 1.5"),
        ({"gpus": -0.5}, "gpus of a task must be 0 or more"),
        ({"cpus": float("inf")}, "whole above 1, but got inf"),
        ({"gpus": float("nan")}, "gpus of a task must be 0 or more"),
        ({"retries": -1}, "retries must be 0 or more, but got -1"),
    ],
)
def test_numbers_that_ray_does_not_take_are_refused(wrong: dict[str, Any], message: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=message):
        OnRay(**wrong)

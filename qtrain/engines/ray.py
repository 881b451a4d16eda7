"""Tasks on the nodes of a Ray cluster, with the results of running them one after the other.

Every task is one Ray task. Ray says where there is room and when a node has died; how often a task is begun, and that
it is yielded once, is decided here. Events and the wish to stop go through an actor beside the caller. A task keeps its
state in its folder, on storage that all nodes see, and goes on there wherever it is begun again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from qtrain import __version__
from qtrain.engines.code import code_digest
from qtrain.engines.task import Died, Task, Told
from qtrain.errors import UserError
from qtrain.extras import install_line
from qtrain.interrupt import Interrupted, stop_on_interrupt

LOOK_EVERY = 0.2  # seconds between two looks at events, Ctrl-C and stop
ANSWER_WITHIN = 5.0  # seconds that a cluster has to answer; Ray itself asks for minutes
OBJECT_STORE = 128 * 2**20  # bytes; results are small and do not need it
AS_HERE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # how threads wait, read when torch is imported
LOOPBACK = ("127.0.0.1", "::1")
QUIET = {"RAY_DEDUP_LOGS_SKIP_REGEX": "^"}  # nothing of Ray's on stdout; read when ray is imported


@dataclass(frozen=True)
class OnRay:
    """Runs tasks on a Ray cluster, as many at a time as it has room for; an ``Engine``.

    A task whose process or node dies is begun again where there is room, and goes on from its folder. Its folder is
    locked while it runs, so that a process which Ray has given up, but which still lives, has it to itself.

    Attributes:
        address: ip:port of a running cluster, auto for one on this machine, or None for one of this machine's cores
            that ends with the call.
        cpus: cores of a task, and torch's threads.
        gpus: of a task, as in 0.25 for four tasks a GPU; without any it sees none.
        retries: how often a task is begun again before it is yielded with Died.

    Raises:
        UserError: no ray here, or numbers that Ray does not take.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    retries: int = 3

    def __post_init__(self) -> None:
        if find_spec("ray") is None:
            raise UserError(f"the Ray engine needs ray, which is not installed; {install_line('ray')}")
        for name, value, enough, least in (
            ("cpus", self.cpus, self.cpus > 0, "above 0"),
            ("gpus", self.gpus, self.gpus >= 0, "0 or more"),
        ):
            if not enough or (value > 1 and not float(value).is_integer()):
                raise UserError(f"{name} of a task must be {least}, and whole above 1, but got {value:g}")
        if self.retries < 0:
            raise UserError(f"retries must be 0 or more, but got {self.retries}")

    def __call__(
        self, tasks: Sequence[Task], *, stop: Callable[[], bool] = lambda: False, told: Told = lambda *_: None
    ) -> Generator[tuple[Task, Any | Died], None, None]:
        """Run all tasks, as ``Engine`` says. Whoever stops asking closes the generator: what still runs is saved.

        Raises:
            UserError: no such cluster, no node large enough, a node without this qtrain, or a lost connection.
        """
        if not tasks:
            return
        with self.connected(), stop_on_interrupt() as asked:
            run = _Run(self, tasks, told)
            try:
                while run.unfinished:
                    if asked() or stop():
                        saved, ended = run.end()
                        yield from ended
                        raise Interrupted("; ".join(saved) or "stopped; what had begun is saved")
                    yield from run.turn()
            except KeyboardInterrupt:  # Ctrl-C for the second time, or all is saved already
                run.kill()
                raise
            finally:
                run.end()

    @property
    def elsewhere(self) -> bool:
        """Whether tasks may run on other machines than the caller's."""
        return self.address is not None

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Be connected, once for several calls; a cluster that this process is connected to already is used as it is.

        Raises:
            UserError: no such cluster.
        """
        os.environ.update(QUIET)
        import ray

        if ray.is_initialized():
            yield
            return
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if self.address is not None:
            _check_answer(self.address)
        try:
            if self.address is None:
                _start_here(options)
            else:
                ray.init(self.address, **options)
        except Exception as error:
            known = (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError)
            if type(error) is not Exception and not isinstance(error, known):  # Ray raises that where it starts slowly
                raise
            place = "a local Ray cannot start" if self.address is None else f"no Ray cluster at {self.address}"
            raise UserError(f"{place}: {_one_line(error)}") from None
        try:
            yield
        finally:
            ray.shutdown()


def _start_here(options: dict[str, Any]) -> None:
    """Start a Ray of this machine's cores that listens on the loopback alone, without a dashboard.

    Raises:
        RuntimeError: it listens elsewhere too, as a Ray may that has no such switch.
    """
    import ray
    from ray._private import ray_constants

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options |= {"num_cpus": _cores(), "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    # Ray has no option for it, only what it does by itself on macOS; else it takes this machine's address in the
    # network for its own, and listens on every address that there is.
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init("local", **options)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
    address = ray.nodes()[0]["NodeManagerAddress"]
    if address not in LOOPBACK:
        ray.shutdown()
        raise RuntimeError(f"this version of Ray listens on {address}, not on this machine alone")


class _Run:
    """The tasks of one call: those that Ray has, and what has come of them."""

    def __init__(self, engine: OnRay, tasks: Sequence[Task], told: Told):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from qtrain.engines import ray_node

        self._ray = ray
        self._node = ray_node
        self._engine = engine
        self._told = told
        _check_room(ray.nodes(), engine)
        ray.cloudpickle.register_pickle_by_value(ray_node)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox: Any = ray.remote(ray_node.Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        # Not with options(): Ray ends a process that has had a GPU only where it is told of it here
        self._remote: Any = ray.remote(
            num_cpus=engine.cpus, num_gpus=engine.gpus, max_retries=0, scheduling_strategy="SPREAD"
        )(ray_node.run_on_node)
        self._running: dict[Any, tuple[Task, Any]] = {}
        for task in tasks:
            self._begin(task, 0)

    @property
    def unfinished(self) -> bool:
        """Whether a task waits or runs."""
        return bool(self._running)

    def turn(self) -> Iterator[tuple[Task, Any | Died]]:
        """Wait for a moment, pass events on, yield a task that has ended."""
        ready, _ = self._ray.wait(list(self._running), timeout=LOOK_EVERY)
        self._pass_on()
        for ref in ready:
            yield from self._take(ref)

    def end(self) -> tuple[list[str], list[tuple[Task, Any]]]:
        """Have every task saved and the mailbox end; what they said of it, and those that ended whole."""
        saved: list[str] = []
        ended: list[tuple[Task, Any]] = []
        try:
            begun = self._ask(self._mailbox.stop) if self._running else set()
            for ref, (_, attempt) in list(self._running.items()):
                if attempt not in begun:  # nor will it begin
                    self._ray.cancel(ref)
                    del self._running[ref]
            while self._running:
                ready, _ = self._ray.wait(list(self._running), timeout=LOOK_EVERY)
                self._pass_on()
                for ref in ready:
                    task, _ = self._running.pop(ref)
                    with suppress(self._ray.exceptions.RayError):  # it has died: saved as far as its last epoch
                        kind, value = self._ray.get(ref)
                        if kind == self._node.DONE:
                            ended.append((task, value))
                        elif kind == self._node.SAVED:
                            saved.append(value)
        finally:
            self.kill()
        return saved, ended

    def kill(self) -> None:
        """End what is left, as last saved."""
        for ref in self._running:
            self._ray.cancel(ref, force=True)
        self._running.clear()
        self._ray.kill(self._mailbox)

    def _begin(self, task: Task, number: int) -> None:
        attempt = self._node.Attempt(task.name, number)
        packed = self._ray.cloudpickle.dumps(task)  # a class of a script or notebook goes along
        environment = {name: os.environ[name] for name in AS_HERE if name in os.environ}
        if not self._engine.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves it as it is
        threads = max(1, int(self._engine.cpus))
        ref = self._remote.remote(packed, attempt, self._mailbox, threads, __version__, code_digest(), environment)
        self._running[ref] = task, attempt

    def _take(self, ref: Any) -> Iterator[tuple[Task, Any | Died]]:
        """Yield a task that has ended, begin one again that was lost, raise an error."""
        task, attempt = self._running.pop(ref)
        try:
            kind, value = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError:  # our own function failed, as for a result that cannot be pickled
            raise
        except self._ray.exceptions.RayError as error:
            kind = self._node.LOST
            value = f"{type(error).__name__}: {_one_line(error)}"
        if kind == self._node.DONE:
            yield task, value
        elif kind == self._node.RAISED:
            raise value
        elif kind == self._node.REFUSED:
            raise UserError(value)
        elif attempt.number < self._engine.retries:
            self._begin(task, attempt.number + 1)
        else:
            yield task, Died(f"its process or node was lost, {attempt.number + 1} times in all; at last: {value}")

    def _pass_on(self) -> None:
        """Tell the events of the attempts that count: a node given up by Ray may still send some."""
        current = {attempt for _, attempt in self._running.values()}
        for attempt, event in self._ask(self._mailbox.take):
            if attempt in current:
                self._told(attempt.name, event)

    def _ask(self, question: Any) -> Any:
        try:
            return self._ray.get(question.remote())
        except self._ray.exceptions.RayError as error:
            raise UserError(f"the Ray cluster was lost ({_one_line(error)}); the same command goes on") from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_answer(address: str) -> None:
    """See that something answers there as Ray does; ``auto`` is looked up by Ray itself.

    Raises:
        UserError: nothing does, or it is the address of Ray's client, which is not of the cluster.
    """
    import grpc

    if address == "auto":
        return
    if "://" in address:
        raise UserError(f"the Ray engine runs on a machine of the cluster: give ip:port or auto, but got {address}")
    channel = grpc.insecure_channel(address)
    try:
        grpc.channel_ready_future(channel).result(timeout=ANSWER_WITHIN)
    except grpc.FutureTimeoutError:
        raise UserError(
            f"no Ray cluster answers at {address}; give the address that ray start --head has printed, or auto"
        ) from None
    finally:
        channel.close()


def _check_room(nodes: Sequence[Mapping[str, Any]], engine: OnRay) -> None:
    """See that some node is large enough for a task.

    Raises:
        UserError: none is; the task would wait for ever.
    """
    have = [(n["Resources"].get("CPU", 0.0), n["Resources"].get("GPU", 0.0)) for n in nodes if n["Alive"]]
    if not any(cpus >= engine.cpus and gpus >= engine.gpus for cpus, gpus in have):
        found = ", ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in have) or "none"
        wanted = f"{engine.cpus:g} CPUs and {engine.gpus:g} GPUs"
        raise UserError(f"a task wants {wanted}, but no node of the cluster has them; the nodes have: {found}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

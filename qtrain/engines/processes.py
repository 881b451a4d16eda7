"""Tasks side by side in processes of their own, with the results of running them one after the other."""

import os
import pickle
import signal
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, NoReturn

import torch

from qtrain.engines.task import Died, Task, Told
from qtrain.engines.worker import EVENT, GONE, READY, RESULT, WARNINGS, work
from qtrain.errors import UserError
from qtrain.interrupt import Interrupted, stop_on_interrupt

LOOK_EVERY = 0.2  # seconds between two looks at Ctrl-C and stop
END_WITHIN = 10.0  # seconds that a worker has for its way out once its task is saved


@dataclass(frozen=True)
class SideBySide:
    """Runs several tasks at a time, each in a spawned process; an ``Engine``.

    A process takes one task after another. All share the device, and each has ``threads_each(jobs)`` CPU threads. On
    the CPU a task has the bits that it has alone with as many threads (their number can change the order in which torch
    adds up), whatever runs beside it. A script that uses this needs ``if __name__ == "__main__":``.

    Attributes:
        jobs: tasks at a time, 1 or more.

    Raises:
        UserError: fewer.
    """

    jobs: int

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UserError(f"jobs must be 1 or more, but got {self.jobs}")

    def __call__(
        self, tasks: Sequence[Task], *, stop: Callable[[], bool] = lambda: False, told: Told = lambda *_: None
    ) -> Generator[tuple[Task, Any | Died], None, None]:
        """Run all tasks, as ``Engine`` says. Whoever stops asking closes the generator: what still runs is saved."""
        with stop_on_interrupt() as asked:
            pool = _Pool(tasks, self.jobs, told)
            try:
                while pool.unfinished:
                    if asked() or stop():
                        yield from _stopped(pool)
                    for task, outcome in pool.turn():
                        if isinstance(outcome, Died) and asked():  # the signal that ended it came here too
                            yield from _stopped(pool)
                        yield task, outcome
            except KeyboardInterrupt:  # Ctrl-C for the second time, or all is saved already
                pool.kill()
                raise
            finally:
                pool.end()


def threads_each(jobs: int) -> int:
    """CPU threads of each of so many jobs: its share of the cores, at most what this process takes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(torch.get_num_threads(), max(1, cores // jobs))


@dataclass(eq=False)
class _Worker:
    """A process, this end of its connection, and the task it is at."""

    process: SpawnProcess
    connection: Connection
    task: Task | None = None
    ready: bool = False

    def send(self, task: Task | None) -> None:
        """Hand it a task, or the wish to end."""
        with suppress(OSError):  # one that has died is noticed where its answer is awaited
            self.connection.send(task)

    def receive(self) -> tuple[str, Any]:
        """What it has to say."""
        try:
            kind, value = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            return GONE, None
        return kind, value

    def end(self) -> int:
        """See that it is gone; its exit status, or minus the signal that ended it."""
        self.process.join(END_WITHIN)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()
        return self.process.exitcode or 0


class _Pool:
    """The workers, and the tasks that are still to be handed out."""

    def __init__(self, tasks: Sequence[Task], jobs: int, told: Told):
        self._waiting = list(tasks)
        self._most = jobs
        self._threads = threads_each(jobs)
        self._told = told
        self._workers: list[_Worker] = []

    @property
    def unfinished(self) -> bool:
        """Whether a task waits or runs."""
        return bool(self._waiting) or any(worker.task for worker in self._workers)

    def turn(self) -> Iterator[tuple[Task, Any | Died]]:
        """Hand out tasks, listen for a moment, yield the tasks that have ended."""
        idle = [worker for worker in self._workers if worker.task is None]
        while self._waiting and (idle or len(self._workers) < self._most):
            worker = idle.pop() if idle else self._start()
            worker.task = self._waiting.pop(0)
            worker.send(worker.task)
        for worker in self._talking(LOOK_EVERY):
            yield from self._take(worker)

    def end(self) -> tuple[list[str], list[tuple[Task, Any]]]:
        """Have every task saved and every worker end; what the tasks said of it, and those that ended whole."""
        saved: list[str] = []
        ended: list[tuple[Task, Any]] = []
        try:
            for worker in self._workers:
                worker.send(None)
            while self._workers:
                for worker in self._talking(None):
                    kind, value = worker.receive()
                    if kind == GONE:
                        self._workers.remove(worker)
                        worker.end()
                    elif kind == RESULT and worker.task is not None:
                        ended.append((worker.task, value))
                    elif isinstance(value, Interrupted):
                        saved.append(str(value))
        finally:
            self.kill()
        return saved, ended

    def kill(self) -> None:
        """End what is left of the workers, their tasks as last saved."""
        for worker in self._workers:
            worker.process.kill()
            worker.end()
        self._workers.clear()

    def _start(self) -> _Worker:
        context = get_context("spawn")  # a fork would share CUDA's and OpenMP's state
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, self._threads, list(warnings.filters)))
        with _interrupts_held(), _quiet_imports():
            process.start()
        theirs.close()  # so that the connection ends with the worker
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _talking(self, timeout: float | None) -> list[_Worker]:
        """The workers that have something to say."""
        ready = wait([worker.connection for worker in self._workers], timeout)
        return [worker for worker in self._workers if worker.connection in ready]

    def _take(self, worker: _Worker) -> Iterator[tuple[Task, Any | Died]]:
        """Pass an event on, yield a result, raise an error."""
        (kind, value), task = worker.receive(), worker.task
        if kind == READY:
            worker.ready = True
        elif kind == GONE:
            self._workers.remove(worker)
            code = worker.end()
            if code > 0 and not worker.ready:
                raise UserError(
                    f"a process for another job cannot start (status {code}); a script that asks for several jobs does "
                    'so below if __name__ == "__main__":'
                )
            if task is not None:
                yield task, Died(_how(code))
        elif kind == EVENT and task is not None:
            self._told(task.name, value)
        elif kind == RESULT and task is not None:
            worker.task = None
            if not self._waiting:
                worker.send(None)  # its memory is for the others
            yield task, value
        elif isinstance(value, Interrupted):  # it alone was told to stop
            raise Interrupted("; ".join([str(value), *self.end()[0]]))
        else:
            raise value


def _stopped(pool: _Pool) -> Generator[tuple[Task, Any], None, NoReturn]:
    """End everything; tasks that ended whole meanwhile are yielded before it is said."""
    saved, ended = pool.end()
    yield from ended
    raise Interrupted("; ".join(saved) or "stopped; what had begun is saved")


def _how(code: int) -> str:
    """What became of a process, for a person."""
    if code >= 0:
        return f"its process ended with status {code}"
    hint = " (is memory short? then give fewer --jobs)" if code == -signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-code).name}{hint}"


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait; a process started inside never hears of it, since only its parent may decide what it means."""
    resource_tracker.ensure_running()  # it is started on first use, and ends the hold
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet_imports() -> Iterator[None]:
    """Let a process started inside say nothing while it imports: its parent has done so, and heard it all."""
    before = os.environ.get(WARNINGS)
    os.environ[WARNINGS] = "ignore"
    try:
        yield
    finally:
        del os.environ[WARNINGS]
        if before is not None:
            os.environ[WARNINGS] = before

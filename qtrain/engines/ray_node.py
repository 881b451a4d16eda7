"""What the nodes of a Ray cluster run for ``qtrain.engines.ray``.

It is sent there by value, so that a node without qtrain can say so: qtrain is imported where it is needed, not above.
"""

from __future__ import annotations

import os
import pickle
import socket
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

if TYPE_CHECKING:
    from qtrain.engines.task import Task

DONE, RAISED, SAVED, REFUSED, LOST = "done", "raised", "saved", "refused", "lost"  # what comes of a task, with a value
LOOK_EVERY = 0.25  # seconds between two looks at the wish to stop
WAIT_FOR_LOCK = 600.0  # seconds; an NFS server frees a dead machine's locks within minutes


@dataclass(frozen=True)
class Attempt:
    """A task's name, and how often it was begun before."""

    name: str
    number: int


class Mailbox:
    """An actor beside the caller: takes events, and decides who may begin."""

    def __init__(self) -> None:
        self._events: list[tuple[Attempt, dict[str, Any]]] = []
        self._begun: set[Attempt] = set()
        self._stopped = False

    def begin(self, attempt: Attempt) -> bool:
        """Whether it may; not once the wish to stop has come."""
        if not self._stopped:
            self._begun.add(attempt)
        return not self._stopped

    def put(self, attempt: Attempt, event: dict[str, Any]) -> None:
        """Keep an event for the caller."""
        self._events.append((attempt, event))

    def take(self) -> list[tuple[Attempt, dict[str, Any]]]:
        """The events since the last time."""
        events = self._events
        self._events = []
        return events

    def stopped(self) -> bool:
        """Whether the wish to stop has come."""
        return self._stopped

    def stop(self) -> set[Attempt]:
        """Let nobody begin any more; those that have."""
        self._stopped = True
        return self._begun


def run_on_node(
    packed: bytes,
    attempt: Attempt,
    mailbox: Any,
    threads: int,
    version: str,
    code: str,
    environment: Mapping[str, str],
) -> tuple[str, Any]:
    """Run one task.

    Args:
        packed: the task, pickled: it can be unpickled only where qtrain is.
        attempt: which one this is.
        mailbox: the caller's.
        threads: of torch.
        version: of the caller's qtrain.
        code: what tells the caller's code from another of this version.
        environment: what must be set before torch is imported.

    Returns:
        What came of it, one of the words above, and its result, its exception or the reason.
    """
    if not ray.get(mailbox.begin.remote(attempt)):
        return SAVED, f"stopped before {attempt.name}"
    os.environ.update(environment)
    try:
        from qtrain import __version__ as found
        from qtrain.engines.code import code_digest
    except ImportError as error:
        return REFUSED, f"{socket.gethostname()} cannot import qtrain ({error}); install qtrain {version} on every node"
    if found != version:
        here = f"{socket.gethostname()} has qtrain {found}, the caller {version}"
        return REFUSED, f"{here}; install the same version on every node"
    if (own := code_digest()) != code:
        here = f"{socket.gethostname()} has other code of qtrain {found} ({own}) than the caller ({code})"
        return REFUSED, f"{here}; bring every node to the same commit, or install the same wheel"
    import torch

    torch.set_num_threads(threads)
    return _outcome(pickle.loads(packed), attempt, mailbox)


def _outcome(task: Task, attempt: Attempt, mailbox: Any) -> tuple[str, Any]:
    """What comes of a task, in a form that can be sent."""
    from qtrain.engines.task import Telling
    from qtrain.records.lock import alone_in

    stop = _Asked(mailbox)
    last = None

    def send(event: dict[str, Any]) -> None:
        nonlocal last
        last = mailbox.put.remote(attempt, event)

    try:
        with alone_in(task.folder, stop, WAIT_FOR_LOCK):
            return DONE, task(Telling(send), stop)
    except TimeoutError as error:
        return LOST, str(error)
    except KeyboardInterrupt as error:
        # Unasked it was a signal: the node is being taken away
        return (SAVED if stop() else LOST), str(error) or f"{attempt.name} was interrupted"
    except Exception as error:
        return RAISED, _sendable(error, f"{attempt.name} on {socket.gethostname()}: {traceback.format_exc()}")
    finally:
        with suppress(RayError):  # nobody is there any more
            if last is not None:
                ray.get(last)  # events must not come behind the result


def _sendable(error: Exception, story: str) -> Exception:
    error.add_note(story)
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # some have constructors that cannot be called again
        copy = None
    return copy if isinstance(copy, Exception) else RuntimeError(story)


class _Asked:
    """Whether the caller wants to stop, or is gone; never waits for the answer."""

    def __init__(self, mailbox: Any):
        self._mailbox = mailbox
        self._next = 0.0
        self._yes = False
        self._answer: Any = None

    def __call__(self) -> bool:
        if self._yes or time.monotonic() < self._next:
            return self._yes
        self._next = time.monotonic() + LOOK_EVERY
        if self._answer is None:
            self._answer = self._mailbox.stopped.remote()
        if ray.wait([self._answer], timeout=0)[0]:
            try:
                self._yes = ray.get(self._answer)
            except RayError:
                self._yes = True
            self._answer = None
        return self._yes

"""Ctrl-C between two steps instead of in the middle of one."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

_POLL = 0.1  # seconds between two looks at whether to stop
Value = TypeVar("Value")


class Interrupted(KeyboardInterrupt):
    """Training was stopped between two steps and its state is on disk."""


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C (or SIGTERM) came; a second one ends the process at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # only the main thread may handle signals
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def handler(number: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in numbers:
        signal.signal(number, handler)
    try:
        yield asked.is_set
    finally:
        for number in numbers:
            signal.signal(number, before[number])


def left_on_stop(work: Callable[[], Value], stop: Callable[[], bool]) -> Value:
    """Do work that cannot be stopped inside, in a thread that is left to itself where ``stop`` says so.

    Args:
        work: what to do; it lets other threads run, as a library's compiled code does, and changes nothing.
        stop: asked again and again.

    Returns:
        What ``work`` returns; what it raises is raised here.

    Raises:
        Interrupted: ``stop`` said so.
    """
    done: Future[Value] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    while not wait([done], timeout=_POLL).done:
        if stop():
            raise Interrupted("stopped in the middle of a computation")
    return done.result()

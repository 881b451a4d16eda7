"""A process that runs the tasks it is given: the other end of ``qtrain.engines.processes``.

Parent and worker share one connection. A worker is given a task, sends events and what came of it, and is given the
next. Between two steps a task asks whether anything has come: the wish to end, or the end of the connection where the
parent has died. Either way it saves itself.
"""

import gc
import os
import pickle
import re
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

import torch

from qtrain.engines.task import Task, Telling
from qtrain.errors import UserError
from qtrain.records.lock import alone_in
from qtrain.training.progress import tell

# What a worker says, pickled with a value.
READY = "ready"
EVENT = "event"
RESULT = "result"
ERROR = "error"
GONE = "gone"  # what its silence says
WARNINGS = "PYTHONWARNINGS"


def work(connection: Connection, threads: int, filters: Sequence[tuple]) -> None:
    """Run what comes, until the wish to end comes, or nobody is there any more."""
    torch.set_num_threads(threads)
    _warn_by(filters)

    def send(packed: bytes) -> None:
        with suppress(OSError):  # the parent has died, as the next look at the connection shows
            connection.send_bytes(packed)

    send(pickle.dumps((READY, None)))
    with suppress(EOFError, OSError):
        while (task := connection.recv()) is not None and not connection.poll():
            send(_outcome(task, Telling(lambda event: send(pickle.dumps((EVENT, event)))), connection.poll))
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()  # its memory is the other processes' too


def _outcome(task: Task, watch: Telling, stop: Callable[[], bool]) -> bytes:
    """A task's result, or what it raised, in a form that can be sent."""
    try:
        with alone_in(task.folder, stop, say=tell):
            return pickle.dumps((RESULT, task(watch, stop)))
    except (UserError, KeyboardInterrupt) as error:
        return pickle.dumps((ERROR, error))
    except Exception as error:
        story = f"{task.name}: {traceback.format_exc()}"
        error.add_note(story)
        try:
            packed = pickle.dumps((ERROR, error))
            pickle.loads(packed)
        except Exception:  # some have constructors that cannot be called again
            return pickle.dumps((ERROR, RuntimeError(story)))
        return packed


def _warn_by(filters: Sequence[tuple]) -> None:
    """Treat warnings as the parent does, now that the imports are done."""
    os.environ.pop(WARNINGS, None)
    warnings.resetwarnings()
    for action, message, category, module, line in reversed(filters):
        texts = [part.pattern if isinstance(part, re.Pattern) else part or "" for part in (message, module)]
        warnings.filterwarnings(action, texts[0], category, texts[1], line)

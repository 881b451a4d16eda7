"""TensorBoard's events in the run folder: the floats of every epoch's record, and each layer's learning rate."""

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from qtrain.records.files import writing
from qtrain.training.loggers.logger import LoggedRun, Logger, Record

_VERSION = "brain.Event:2"  # of the format, which the first event of a file names


class TensorBoard(Logger):
    """Writes ``events.out.tfevents.*``; ``tensorboard --logdir runs`` shows them.

    An epoch's events are in the file when the epoch has been told. TensorBoard's own writer has a thread for that,
    which can only print what it dies of.
    """

    def begin(self, run: LoggedRun) -> None:
        """Open a file; of a resumed run TensorBoard forgets the epochs that are trained once more."""
        first = len(run.epochs) + 1
        self._path = run.folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._write(
            Event(wall_time=time.time(), file_version=_VERSION),
            Event(wall_time=time.time(), step=first, session_log=SessionLog(status=SessionLog.START)),
        )

    def epoch(self, record: Record) -> None:
        """Write the record's scalars."""
        found = {name: value for name, value in record.items() if isinstance(value, float)}
        found |= {f"draws/{layer}": rate for layer, rate in record["draws"].items()}
        self._write(self._scalars(found, record["epoch"]))

    def _scalars(self, values: Mapping[str, float], epoch: int) -> Any:
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        return Event(wall_time=time.time(), step=epoch, summary=Summary(value=points))

    def _write(self, *events: Any) -> None:
        with writing(self._path), self._path.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())

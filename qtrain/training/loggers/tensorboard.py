"""TensorBoard's events in the run folder: the floats of every epoch's record, and each layer's learning rate."""

from torch.utils.tensorboard import SummaryWriter

from qtrain.training.loggers.logger import LoggedRun, Logger, Record


class TensorBoard(Logger):
    """Writes ``events.out.tfevents.*``; ``tensorboard --logdir runs`` shows them."""

    def begin(self, run: LoggedRun) -> None:
        """Open a file; of a resumed run TensorBoard forgets the epochs that are trained once more."""
        self._board = SummaryWriter(str(run.folder), purge_step=len(run.epochs) + 1)

    def epoch(self, record: Record) -> None:
        """Write the record's scalars."""
        for name, value in record.items():
            if isinstance(value, float):
                self._board.add_scalar(name, value, record["epoch"])
        for layer, rate in record["draws"].items():
            self._board.add_scalar(f"draws/{layer}", rate, record["epoch"])

    def close(self, done: bool) -> None:
        """Flush the file."""
        self._board.close()

"""Weights & Biases: a run there for each run here, in its offline mode too."""

import os

import wandb

from qtrain.errors import UserError
from qtrain.own_code import one_line
from qtrain.training.loggers.logger import LoggedRun, Logger, Record, epoch_scalars, result_scalars

PROJECT = "qtrain"


class WeightsAndBiases(Logger):
    """Writes by ``wandb``, which its own environment variables steer: WANDB_MODE, WANDB_PROJECT, WANDB_DIR and others.

    With ``WANDB_MODE=offline`` all stays in the folder ``wandb`` within the run folder until ``wandb sync`` sends it.
    """

    def begin(self, run: LoggedRun) -> None:
        """Begin a run there, or go on with that of the run's own."""
        quiet = wandb.Settings(silent=True, console="off")
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=os.environ.get("WANDB_NAME", run.title),
                dir=os.environ.get("WANDB_DIR", str(run.folder)),
                id=run.identity,
                resume="allow",
                config=dict(run.start["recipe"]),
                settings=quiet,
                reinit="create_new",
            )
        except Exception as error:  # what wandb raises is its own matter: no login, no network, no right to write
            raise UserError(
                f"logger wandb cannot begin ({one_line(error)}); log in by wandb login, or set WANDB_MODE=offline"
            ) from error
        # The step that W&B counts by itself goes on behind a kill's epochs; the epoch's own number says where it is.
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")
        run.say(f"wandb: {self._run.url or self._run.dir}")

    def epoch(self, record: Record) -> None:
        """Write the record's scalars."""
        self._run.log(epoch_scalars(record))

    def result(self, record: Record) -> None:
        """Write the result's numbers into the summary."""
        self._run.summary.update(result_scalars(record))

    def close(self, done: bool) -> None:
        """Wait until all is written; W&B shows a run that is not done as failed until it is resumed."""
        self._run.finish(exit_code=0 if done else 1)

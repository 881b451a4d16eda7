"""MLflow: a run there for each run here, on a server or in a local database."""

import logging
import os
import time
from collections.abc import Mapping

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read by the import; else it tells MLflow of its use

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from qtrain.errors import UserError
from qtrain.own_code import one_line
from qtrain.training.loggers.logger import LoggedRun, Logger, Record, epoch_scalars, result_scalars

EXPERIMENT = "qtrain"
IDENTITY = "qtrain.run"  # the tag that a resumed run is found by
_LONGEST = 500  # characters of a parameter's value that every version takes


class MLflow(Logger):
    """Writes by ``mlflow``, which its own environment variables steer.

    MLFLOW_TRACKING_URI says where to; without it MLflow 3 writes the database ``mlflow.db`` in the current folder.
    MLFLOW_EXPERIMENT_NAME names the experiment; by default it is qtrain.
    """

    def begin(self, run: LoggedRun) -> None:
        """Begin a run there, or go on with that of the run's own."""
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # tables of a new database are nobody's concern
        try:
            self._client = MlflowClient()
            self._id = self._found(run) or self._new(run)
        except Exception as error:  # what MLflow and its stores raise is their own matter
            raise UserError(
                f"logger mlflow cannot begin ({one_line(error)}); see MLFLOW_TRACKING_URI, or leave mlflow out of --log"
            ) from error
        run.say(f"mlflow: run {self._id} in {self._client.tracking_uri}")

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        known = self._client.get_experiment_by_name(name)
        return str(known.experiment_id if known is not None else self._client.create_experiment(name))

    def _found(self, run: LoggedRun) -> str | None:
        """Return the run there that an earlier part of this run has begun, and set it running."""
        found = self._client.search_runs([self._experiment()], f"tags.`{IDENTITY}` = '{run.identity}'", max_results=1)
        if not found:
            return None
        self._client.update_run(found[0].info.run_id, status="RUNNING")
        return str(found[0].info.run_id)

    def _new(self, run: LoggedRun) -> str:
        made = self._client.create_run(self._experiment(), run_name=run.title, tags={IDENTITY: run.identity})
        recipe = run.start["recipe"]
        parameters = [Param(name, str(value)[:_LONGEST]) for name, value in recipe.items()]
        self._client.log_batch(made.info.run_id, params=parameters)
        return str(made.info.run_id)

    def epoch(self, record: Record) -> None:
        """Write the record's scalars at the epoch's number."""
        numbers = epoch_scalars(record)
        self._log(numbers, epoch=int(numbers.pop("epoch")))

    def result(self, record: Record) -> None:
        """Write the result's numbers at the number of the last epoch."""
        self._log(result_scalars(record), record["epochs"])

    def _log(self, numbers: Mapping[str, float], epoch: int) -> None:
        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, epoch) for name, value in numbers.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self, done: bool) -> None:
        """Say that the run has ended, or was stopped."""
        self._client.set_terminated(self._id, "FINISHED" if done else "KILLED")

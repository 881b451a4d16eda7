"""Trials of a search that are ended early: those that fall behind the trials that cost no more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtrain.experiments.sweep.plan import SweepPlan
from qtrain.experiments.sweep.planned_cell import PlannedCell
from qtrain.experiments.sweep.search_plan import NO_PRUNER
from qtrain.training import Callback, TrainingRun

STARTUP = 5  # rivals, before which nothing is pruned; Optuna's own number


@dataclass(frozen=True)
class Rival:
    """A trial that has trained all its epochs.

    Attributes:
        bops: bit operations an image.
        curve: validation accuracy after each epoch, in percent.
    """

    bops: float
    curve: tuple[float, ...]


class Pruning(Callback):
    """Ends a trial whose best validation accuracy is below the rivals' median at that epoch: Optuna's MedianPruner.

    The last epoch prunes nothing, for the trial is trained then.

    Args:
        rivals: that cost no more than the trial; of fewer than ``STARTUP`` none is asked.
    """

    def __init__(self, rivals: Sequence[Rival]):
        self._rivals = rivals
        self._reported: list[float] = []

    def on_epoch_end(self, run: TrainingRun, record: Mapping[str, Any]) -> str | None:
        """Report the epoch's validation accuracy, and ask the pruner."""
        self._reported.append(record["validation_accuracy"])
        epoch = len(self._reported)
        if epoch == run.recipe.epochs or not should_prune(self._reported, self._rivals):
            return None
        return f"below the median of {len(self._rivals)} trials that cost no more"

    def state_dict(self) -> dict[str, Any]:
        """Return the accuracies that were reported."""
        return {"reported": list(self._reported)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        self._reported = list(state["reported"])


def should_prune(reported: Sequence[float], rivals: Sequence[Rival]) -> bool:
    """Ask Optuna's MedianPruner about a trial.

    Args:
        reported: validation accuracy after each epoch so far.
        rivals: trials that have trained all their epochs.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP))
    for rival in rivals:
        curve = dict(enumerate(rival.curve, 1))
        study.add_trial(optuna.trial.create_trial(value=rival.curve[-1], intermediate_values=curve))
    trial = study.ask()
    for epoch, accuracy in enumerate(reported, 1):
        trial.report(accuracy, epoch)
    return bool(trial.should_prune())  # of NumPy's kind


def rivals_of(cell: PlannedCell, plan: SweepPlan, rows: Sequence[Mapping[str, Any]]) -> tuple[Rival, ...]:
    """Return the trials that a trial is held against: those that had ended when it was planned.

    Those of its own batch are left out, so that a search that was killed prunes as one that nothing disturbed.

    Args:
        cell: of the plan.
        plan: with its trials so far.
        rows: of the cells that have ended.
    """
    if plan.search is None or plan.search.pruner == NO_PRUNER:
        return ()
    known = {trial.name for trial in plan.trials[: cell.knows]}
    found = []
    for row in rows:
        if row["cell"] in known and row["state"] == "done" and row["cost"] is not None:
            found.append(Rival(float(row["cost"]["bops"]), tuple(row["curve"]["validation_accuracy"])))
    return tuple(found)

"""The run at the widest bits that a fit begins from: trained here within the time, or given."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.fit.plan import FitPlan
from qtrain.experiments.one_rate import fixed_rate
from qtrain.experiments.run import complete_run
from qtrain.interrupt import Interrupted
from qtrain.records.fit import FitFile
from qtrain.training import Result, Watcher
from qtrain.training.context import RunContext
from qtrain.training.folder import last_result

BASE = "base"


class Projecting:
    """A watcher that passes everything on, and knows after an epoch how long the training will take.

    Args:
        watch: that is told.
        left: seconds that there are.
        stop: asked too.
    """

    def __init__(self, watch: Watcher, left: float, stop: Callable[[], bool]):
        self._watch = watch
        self._left = left
        self._stop = stop
        self._began = time.monotonic()
        self._epochs = 0
        self.seconds: float | None = None  # of the whole training, as far as this process knows
        self.too_long = False

    def start(self, title: str, steps: int, done: int) -> None:
        """Pass it on; the clock begins here."""
        self._began = time.monotonic()
        self._watch.start(title, steps, done)

    def step(self, images: int) -> None:
        """Pass it on."""
        self._watch.step(images)

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Pass it on, and project the end from the epochs of this process."""
        self._epochs += 1
        each = (time.monotonic() - self._began) / self._epochs
        done = int(record["epoch"])
        self.seconds = each * epochs
        self.too_long = each * (epochs - done) > self._left - (time.monotonic() - self._began)
        self._watch.epoch(record, epochs)

    def finish(self) -> None:
        """Pass it on."""
        self._watch.finish()

    def stop(self) -> bool:
        """Whether to stop: as asked, or because the time does not suffice."""
        return self.too_long or self._stop()


def trained_base(plan: FitPlan, out: Path, context: RunContext, left: float) -> tuple[FitPlan, Path, Result]:
    """Train the run at the widest bits, continue it, or read it.

    Args:
        plan: of the fit; with a rate that the range test is to find, it is asked for here.
        out: folder of the fit.
        context: where the run happens.
        left: seconds that there are.

    Returns:
        The plan with a number for its rate, the run's folder and its result.

    Raises:
        UserError: it takes longer than there is time, or the run that was given has no result.
        Interrupted: ``context.stop`` said so.
    """
    if plan.run is not None:
        folder = Path(plan.run)
        result = last_result(folder)
        if result is None:
            raise UserError(f"{folder} has no result yet; finish it with qtrain train --resume {folder}")
        return plan, folder, result
    recipe, _ = fixed_rate(plan.recipe, out, context)
    plan = replace(plan, recipe=recipe)
    watch = Projecting(context.watch, left, context.stop)
    try:
        result = complete_run(recipe, out / BASE, replace(context, watch=watch, stop=watch.stop))
    except Interrupted:
        if not watch.too_long or watch.seconds is None:
            raise
        raise UserError(
            f"the time is shorter than one training: {recipe.network} takes {watch.seconds / 3600:.2g} h for "
            f"{recipe.epochs} epochs, and {max(left, 0) / 3600:.2g} of {plan.hours:g} hours are left; give more "
            "--hours, or fewer --epochs"
        ) from None
    return plan, out / BASE, result


def fit_of(run: Path) -> Path | None:
    """Return the folder of the fit that trained a run, which knows much of it; None of another run."""
    folder = run.resolve().parent
    return folder if run.name == BASE and FitFile.is_in(folder) else None

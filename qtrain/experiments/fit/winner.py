"""The winner: the most accurate candidate that the compiler says fits, with its FINN folder."""

from pathlib import Path

from qtrain.errors import UserError
from qtrain.experiments.fit.candidates import BASE_NAME, repeat_command
from qtrain.experiments.fit.folded import FOLDED, FOLDING
from qtrain.experiments.fit.plan import FitPlan, nearest
from qtrain.experiments.fit.state import State
from qtrain.experiments.sweep.deploy import ESTIMATE, FINN
from qtrain.experiments.sweep.plan import CELLS
from qtrain.experiments.sweep.winner import AUTO
from qtrain.experiments.sweep.winner import deliver as deliver_folder
from qtrain.records.fit import Candidate
from qtrain.training.context import RunContext
from qtrain.training.folder import folder_recipe


def best_of(plan: FitPlan, candidates: tuple[Candidate, ...]) -> Candidate:
    """Return the candidate with the best validation accuracy of those that fit; of equal ones the smallest.

    Raises:
        UserError: none fits, or none is accurate enough; says what the nearest misses.
    """
    done = [one for one in candidates if one.state == "done" and one.used is not None and one.fps is not None]
    if not done:
        why = next((one.error for one in candidates if one.error), "there was no time to train one; give more --hours")
        raise UserError(f"no candidate came to its end: {why}")
    fitting = [one for one in done if plan.fits(one.used or {}, one.fps or 0.0)]
    if not fitting:
        said = nearest([(one.name, one.used or {}, one.fps or 0.0) for one in done], plan)
        raise UserError(f"none of {len(done)} trained networks fits by the compiler; the nearest, {said}")
    best = max(fitting, key=lambda one: (one.validation_accuracy or 0.0, -(one.used or {})["LUT"]))
    if plan.min_accuracy is not None and (best.validation_accuracy or 0.0) < plan.min_accuracy:
        raise UserError(
            f"no network that fits reaches {plan.min_accuracy:g} % of the validation images; the best of "
            f"{len(fitting)}, {best.name}, has {best.validation_accuracy:.2f} %; give more --hours, or wider limits"
        )
    return best


def deliver(plan: FitPlan, out: Path, run: Path, state: State, context: RunContext) -> Candidate:
    """Choose the winner and put its FINN folder, with the folding, into the fit's own.

    Raises:
        UserError: as ``best_of``.
        ProofError: a file of the winner's FINN folder has changed.
    """
    best = best_of(plan, state.candidates)
    cell = out / CELLS / best.name
    finn = out / FINN
    if state.file.winner != best.name or not finn.is_dir():
        build = cell / (FOLDED if best.own_folding else ESTIMATE)
        folding = cell / FOLDING if best.own_folding else build / AUTO
        target = plan.target
        deliver_folder(cell / FINN, build, folding, finn, plan.board, target.fps, target.clock_ns)
        recipe = folder_recipe(run if best.name == BASE_NAME else cell)
        state.write(winner=best.name, command=repeat_command(plan, recipe, best.name))
    context.say(f"{finn}: ready for FINN on {plan.board.label}")
    return best

"""The loop of a fit: measure, model, choose, train, ask the compiler, and again while there is time."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from qtrain.engines.task import Engine, in_turn
from qtrain.errors import UserError
from qtrain.experiments.fit import state as states
from qtrain.experiments.fit.base import fit_of, trained_base
from qtrain.experiments.fit.candidates import Candidates, from_choice
from qtrain.experiments.fit.choose import Solver
from qtrain.experiments.fit.compiled import Bench, asked
from qtrain.experiments.fit.impossible import check_possible
from qtrain.experiments.fit.knowledge import Knowledge
from qtrain.experiments.fit.plan import FitPlan, read_plan
from qtrain.experiments.fit.state import State
from qtrain.experiments.fit.winner import deliver
from qtrain.experiments.run_cells import check_alone
from qtrain.experiments.sensitivity.growth import growth_of
from qtrain.experiments.sensitivity.measure import measured
from qtrain.experiments.sensitivity.structure import structure_of, without_refused
from qtrain.experiments.view import CellsView, NoView
from qtrain.export.compiler.start import INSTALL, find_compiler
from qtrain.models import parse_name
from qtrain.records.fit import Candidate
from qtrain.records.lock import only_here
from qtrain.training.context import HERE, RunContext
from qtrain.training.setup import choose_device

POINTS = 8  # networks of a front
_NO_USE = 0.01  # share of the smallest network's growth of the loss that no LUT is spent on
_DIFFERENT = 0.1  # share of the quantizers in which two candidates differ at least


def fit(
    plan: FitPlan,
    out: str | Path,
    context: RunContext = HERE,
    *,
    engine: Engine = in_turn,
    view: CellsView | None = None,
) -> Candidate:
    """Find the most accurate network that fits, or go on finding it.

    Args:
        plan: of ``plan_fit``.
        out: folder; new, empty, or of a fit of the same plan.
        context: where the data lie, which device, what stops it, and who is told.
        engine: where candidates are trained.
        view: shows where they are.

    Returns:
        The winner; its FINN folder is ``finn`` in ``out``.

    Raises:
        UserError: nothing keeps within the limits, the time is too short, or ``out`` holds something else.
        Interrupted: Ctrl-C or ``context.stop``; the same call goes on.
    """
    out = Path(out)
    check_alone()
    choose_device(context.device)
    if find_compiler() is None:
        raise UserError(f"fit asks the FINN compiler, and there is none here; {INSTALL}")
    with only_here(out, say=context.say):
        states.begin(plan, out)
        state = State(out)
        context = replace(context, stop=state.counting(context.stop))
        with state.timed():
            return _fit(plan, out, context, engine, view or NoView(), state)


def resume_fit(
    out: str | Path, context: RunContext = HERE, *, engine: Engine = in_turn, view: CellsView | None = None
) -> Candidate:
    """Go on with the fit in ``out``; arguments, result and errors are those of ``fit``."""
    return fit(read_plan(Path(out)), out, context, engine=engine, view=view)


def _fit(plan: FitPlan, out: Path, context: RunContext, engine: Engine, view: CellsView, state: State) -> Candidate:
    """Do what is still to be done; the order is that of the module's first line."""
    seconds = plan.hours * 3600
    plan, run, base = trained_base(plan, out, context, seconds - state.spent)
    state.write()
    context.say(f"{plan.recipe.network}: {base.validation_accuracy:.2f} % of the validation images; {run}")
    structure = structure_of(plan.recipe, plan.family, context.data_root)
    if parse_name(plan.recipe.network).is_own:
        structure = without_refused(structure, plan.recipe, plan.widths, context.data_root, context.say)
    earlier = fit_of(run)
    sensitivity = measured(plan.recipe, run, structure, plan.widths, out, context, earlier)
    state.write()
    context.say(f"sensitivity: {len(sensitivity.entries)} changes of the loss, in {sensitivity.FILE}")
    target = plan.target
    bench = Bench(plan.recipe, run, structure, target.board, target.fps, target.clock_ns, context.data_root)
    answers = asked(bench, plan.widths, out, context, earlier)
    state.write()
    candidates = Candidates(plan, out, run, structure, context, engine, view, state)
    growth = growth_of(sensitivity, structure.widest())
    known = Knowledge(plan, out, bench, answers, growth, candidates.compiled(), context.stop)
    if not state.candidates:
        check_possible(plan, known.solver, bench)
        known.add(candidates.with_base(known.solver))
    each = base.seconds * plan.candidate_epochs / base.epochs  # seconds that a candidate trains, as far as is known
    while True:
        waiting = [candidate for candidate in state.candidates if candidate.state == "planned"]
        if not waiting:
            each = max([each, *(one.seconds for one in state.candidates if one.seconds is not None)])
            if why := _over(plan, state, seconds - state.spent, each):
                context.say(why)
                break
            error = known.error()
            context.say(f"cost model: {error.lut:.1%} off in LUT (median of {error.networks} networks not fitted to)")
            waiting = _next(plan, known, state)
            if not waiting:
                context.say("every network that the limits allow has been tried")
                break
            state.add(waiting, known.solver.front(plan.limits["LUT"], POINTS), error)
        known.add(candidates.run(waiting))
    return deliver(plan, out, run, state, context)


def _over(plan: FitPlan, state: State, left: float, each: float) -> str:
    """Return why no further round begins; empty where one does.

    Args:
        plan: of the fit.
        state: of it.
        left: seconds that there are.
        each: seconds that a training takes.
    """
    if plan.rounds is not None and state.round >= plan.rounds:
        return f"{state.round} rounds are done" if state.round > 1 else "one round is done"
    if left < each:
        return f"{max(left, 0) / 60:.1f} minutes are left, too few for another training of {each / 60:.1f}"
    return ""


def _next(plan: FitPlan, known: Knowledge, state: State) -> list[Candidate]:
    """Choose the candidates of a round.

    The first round's are at falling bounds on LUTs, so that there is a front to look at; later ones have all that the
    limits allow, and differ from those before.
    """
    number = state.round + 1
    tried = [candidate.bits for candidate in state.candidates]
    apart = max(1, round(_DIFFERENT * len(known.solver.model.structure.variables)))
    bounds = [plan.limits["LUT"]] * plan.at_once
    if number == 1:
        bounds = first_bounds(known.solver, plan.limits, plan.at_once, topped=bool(tried))
    chosen: list[Candidate] = []
    for place, bound in enumerate(bounds, 1):
        others = [*tried, *(candidate.bits for candidate in chosen)]
        choice = known.within(f"round{number}-{place}", bound, others, apart)
        if choice is not None:
            chosen.append(from_choice(choice, number, place))
    return chosen


def first_bounds(solver: Solver, limits: Mapping[str, float], count: int, *, topped: bool) -> list[float]:
    """Return the most LUTs of each candidate of the first round, falling by equal ratios.

    They lie between the smallest network and the one from which on more LUTs are of no more use: its loss grows by no
    more than a hundredth of what the smallest network's does.

    Args:
        solver: of the bits.
        limits: the most of each resource.
        count: of candidates.
        topped: whether the widest network takes part: nothing is gained by a candidate beside it, and the bounds are in
            the middle of as many equal parts; else the first has all that the limits allow.
    """
    most = limits["LUT"]
    best = solver.choose(most)
    least = solver.least("LUT", {kind: limit for kind, limit in limits.items() if kind != "LUT"})
    if best is None or least is None:
        return [most] * count
    enough = solver.cheapest(best.change + _NO_USE * (least.change - best.change), limits) or best
    high, low = enough.predicted["LUT"], least.predicted["LUT"]
    if topped:
        return [high * (low / high) ** ((i + 0.5) / count) for i in range(count)]
    return [most, *(high * (low / high) ** (i / count) for i in range(1, count))]

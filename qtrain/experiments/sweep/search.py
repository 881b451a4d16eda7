"""Per-layer bits by Optuna: trials that begin from the weights of a sweep's nearest trained cell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qtrain.errors import UserError
from qtrain.experiments.status import CellsStatus
from qtrain.experiments.sweep.bops import Bops
from qtrain.experiments.sweep.file import write_plan
from qtrain.experiments.sweep.plan import SweepPlan
from qtrain.experiments.sweep.planned_cell import SEARCH, PlannedCell, cell_name
from qtrain.experiments.sweep.proposals import proposed, widest_cell
from qtrain.experiments.sweep.row import Rows
from qtrain.experiments.sweep.search_plan import COSTS, NO_PRUNER, SearchPlan
from qtrain.experiments.sweep.search_space import SearchSpace, Widths, nearest
from qtrain.export.compiler.start import INSTALL, find_compiler
from qtrain.extras import install_line
from qtrain.records.proposals import Proposal
from qtrain.training.context import HERE, RunContext

if TYPE_CHECKING:
    from optuna import Study

ATTEMPTS = 100  # drawings of a trial, until one is of a network that no cell has
Row = dict[str, Any]


def check_search(plan: SweepPlan) -> None:
    """See that a plan's search can run here.

    Raises:
        UserError: no Optuna, or LUTs are asked for where no compiler counts them.
    """
    if plan.search is None:
        return
    if find_spec("optuna") is None:
        raise UserError(f"a search needs optuna, which is not installed; {install_line('search')}")
    if plan.search.cost == "lut" and find_compiler() is None:
        raise UserError(f"search_cost lut is FINN's estimate, but there is no compiler here; {INSTALL}, or take bops")


def check_start(plan: SweepPlan, data_root: str | Path | None) -> None:
    """See that a search that begins with sensitivities has a cell to measure, and networks that can be counted.

    Raises:
        UserError: it has not.
    """
    if plan.search is not None and plan.search.proposals:
        space = SearchSpace(plan, data_root)
        widest_cell(plan, space)
        Bops(space, data_root)


def search(
    plan: SweepPlan,
    out: Path,
    status: CellsStatus,
    rows: Rows,
    run: Callable[[SweepPlan, Sequence[PlannedCell]], None],
    *,
    at_a_time: int = 1,
    context: RunContext = HERE,
) -> SweepPlan:
    """Plan and run the trials that a sweep's plan has not yet.

    The rows are the only memory: what is asked next depends on the plan, its trials so far and their rows alone, so
    that a search that was killed goes on as it would have.

    Args:
        plan: with a search; all its cells have ended.
        out: the sweep's folder; its plan is written anew with the trials before they run.
        status: of the sweep.
        rows: of all cells that have ended.
        run: brings cells of a plan to their rows.
        at_a_time: trials that are asked for, and run, together.
        context: where the data lie, which device, and what stops it; for a start with sensitivities.

    Returns:
        The plan with its trials; fewer than asked for where no cell has weights, or no new network is found.

    Raises:
        UserError: it begins with sensitivities, and the widest cell has no weights.
    """
    wanted = plan.search
    assert wanted is not None
    space = SearchSpace(plan, context.data_root)
    proposals: Sequence[Proposal] = ()
    if wanted.proposals and len(plan.trials) < wanted.trials:
        proposals = proposed(plan, space, out, rows.in_order, context)
    while missing := wanted.trials - len(plan.trials):
        status.expect({}, missing, wanted.epochs)
        asked = next_trials(plan, space, rows.in_order, min(at_a_time, missing), proposals)
        if not asked:
            break
        plan = replace(plan, trials=(*plan.trials, *asked))
        write_plan(out, plan)
        status.expect({cell.name: cell.epochs for cell in asked}, missing - len(asked), wanted.epochs)
        run(plan, asked)
    status.expect({}, 0, wanted.epochs)
    return plan


def next_trials(
    plan: SweepPlan, space: SearchSpace, rows: Sequence[Row], count: int, proposals: Sequence[Proposal] = ()
) -> list[PlannedCell]:
    """Take proposals that no trial is of yet, then ask Optuna, for up to ``count`` networks that no cell has.

    Each is planned from its nearest neighbour.

    Args:
        plan: with a search, and the trials so far.
        space: of the plan.
        rows: of the cells that have ended.
        count: 1 or more.
        proposals: of the sensitivities; those that are not beyond what is known are passed over.

    Returns:
        Fewer where drawings find nothing new; none where no cell has weights to begin from.
    """
    assert plan.search is not None
    cells = {cell.name: cell for cell in plan.cells() if cell.seed == plan.seeds[0]}
    widths = {name: space.widths(cell) for name, cell in cells.items()}
    ended = [(widths[row["cell"]], row) for row in rows if row["cell"] in cells]
    trained = [(known, row) for known, row in ended if _has_weights(row)]
    if not trained:
        return []
    seen = {space.chosen(known) for known in widths.values()}
    asked: list[PlannedCell] = []
    study = make_study(space, plan.search, ended, _seed(plan))
    last = max((trial.proposal for trial in plan.trials), default=0)
    waiting = [number for number, one in enumerate(proposals, 1) if number > last and one.beyond]
    for number in range(len(plan.trials) + 1, len(plan.trials) + count + 1):
        proposal = waiting.pop(0) if waiting else 0
        params = dict(proposals[proposal - 1].bits) if proposal else _new_params(study, space, seen)
        if params is None:
            break
        seen.add(space.chosen(params))
        trial = _planned(plan, space, params, trained, cells, number)
        asked.append(replace(trial, proposal=proposal))
    return asked


def _has_weights(row: Row) -> bool:
    """Whether a trial may begin from a cell: one that was pruned has not trained as long as its plan says."""
    return row["validation_accuracy"] is not None and row["state"] != "pruned"


def _new_params(study: "Study", space: SearchSpace, seen: set[tuple[int, ...]]) -> Widths | None:
    """Draw until a network is new; None where none is within ``ATTEMPTS`` drawings."""
    from optuna.trial import TrialState

    for _ in range(ATTEMPTS):
        trial = study.ask(_distributions(space))
        if space.chosen(trial.params) not in seen:
            return trial.params
        study.tell(trial, state=TrialState.FAIL)  # else the sampler would keep away from it as from one that runs
    return None


def make_study(space: SearchSpace, wanted: SearchPlan, ended: Sequence[tuple[Widths, Row]], seed: int) -> "Study":
    """Make a study that knows every cell that has ended; pruned ones as pruned.

    Those that failed, or whose cost is not known, count as failed.

    Its objectives are validation accuracy, to be maximised, and the cost, to be minimised.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    distributions = _distributions(space)
    for widths, row in ended:
        values = [row["validation_accuracy"], cost_of(row, wanted.cost)]
        told: dict[str, Any] = {"state": optuna.trial.TrialState.FAIL}
        if row["state"] == "done" and None not in values:
            told = {"state": optuna.trial.TrialState.COMPLETE, "values": values}
        elif row["state"] == "pruned":
            told = {"state": optuna.trial.TrialState.PRUNED}
        params = {path: widths[path] for path in space.choices}
        study.add_trial(optuna.trial.create_trial(distributions=distributions, params=params, **told))
    return study


def cost_of(row: Mapping[str, Any], cost: str) -> float | None:
    """Return a row's cost; None where it is not known."""
    value: Any = row
    for name in COSTS[cost]:
        if value is None:
            return None
        value = value[name]
    return None if value is None else float(value)


def _distributions(space: SearchSpace) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution

    return {path: CategoricalDistribution(choices) for path, choices in space.choices.items()}


def _planned(
    plan: SweepPlan,
    space: SearchSpace,
    params: dict[str, int],
    trained: Sequence[tuple[Widths, Row]],
    cells: Mapping[str, PlannedCell],
    number: int,
) -> PlannedCell:
    """Plan the trial of these bits, from its nearest neighbour."""
    assert plan.search is not None
    pair, bits = space.name(params)
    parent = cells[nearest(params, trained)["cell"]]
    return PlannedCell(
        name=cell_name(plan.family, pair, f"trial{number}", plan.seeds[0], SEARCH),
        network=f"{plan.family}_{pair[0]}W{pair[1]}A",
        weight_bits=pair[0],
        act_bits=pair[1],
        bits=bits,
        seed=plan.seeds[0],
        start=SEARCH,
        parent=parent.name,
        epochs=plan.search.epochs,
        total_epochs=parent.total_epochs + plan.search.epochs,
        depth=parent.depth + 1,
        knows=0 if plan.search.pruner == NO_PRUNER else len(plan.trials),
    )


def _seed(plan: SweepPlan) -> int:
    """Return a sampler's seed: another after each trial, so that it needs no memory of what it drew before."""
    return int(np.random.SeedSequence([plan.seeds[0], len(plan.trials)]).generate_state(1)[0])

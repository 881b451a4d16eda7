"""The first trials of a search that begins with sensitivities: networks that these say lie beyond what is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.sensitivity.growth import Growth, growth_of, summed
from qtrain.experiments.sensitivity.measure import Trial, measured_trials
from qtrain.experiments.sweep.bops import Bops
from qtrain.experiments.sweep.least_growth import LeastGrowth
from qtrain.experiments.sweep.plan import CELLS, SweepPlan
from qtrain.experiments.sweep.planned_cell import SEARCH, PlannedCell
from qtrain.experiments.sweep.search_plan import SENSITIVITY
from qtrain.experiments.sweep.search_space import SearchSpace, Widths
from qtrain.recipe import Recipe
from qtrain.records.fit import Kind
from qtrain.records.proposals import Proposal, ProposalsFile
from qtrain.training.context import RunContext
from qtrain.training.progress import Silent

Row = Mapping[str, Any]
Known = tuple[float, float]  # bit operations of a network, and the growth of its loss


def widest_cell(plan: SweepPlan, space: SearchSpace) -> PlannedCell:
    """Return the cell of the search's seed that has the most bits in every layer.

    Raises:
        UserError: there is none.
    """
    widest = space.widest()
    for cell in plan.cells():
        widths = space.widths(cell) if cell.seed == plan.seeds[0] and cell.start != SEARCH else {}
        if all(widths.get(path) == bits for path, bits in widest.items()):
            return cell
    raise UserError(
        f"search_from {SENSITIVITY} begins at a cell with the most bits in every layer, and the expressions of bits "
        f"leave none; add one that all others are narrower than, or take search_from random"
    )


def proposed(
    plan: SweepPlan, space: SearchSpace, out: Path, rows: Sequence[Row], context: RunContext
) -> tuple[Proposal, ...]:
    """Read what is proposed, or measure the widest cell's sensitivities, or go on with that, and choose.

    Args:
        plan: with a search; all its own cells have ended.
        space: of the search.
        out: folder of the sweep; ``sensitivity.json`` grows in it, then ``proposals.json`` is there at once.
        rows: of the cells that have ended.
        context: where the data lie, which device, and what stops it.

    Raises:
        UserError: the widest cell has no weights, or a file is damaged.
        Interrupted: ``context.stop`` said so.
    """
    if ProposalsFile.is_in(out):
        return _read(out, space)
    cell = widest_cell(plan, space)
    row = next((row for row in rows if row["cell"] == cell.name), None)
    if row is None or row["validation_accuracy"] is None:
        why = "" if row is None else f": {row['error']}"
        raise UserError(
            f"search_from {SENSITIVITY} begins at {cell.name}, which is not trained{why}; try it anew with "
            f"qtrain sweep --resume {out} --again"
        )
    recipe = plan.recipe_of(cell, out)
    trials = _narrowed(recipe.replace(init_from=None), space)
    context.say(f"measuring how sensitive {cell.network} is: {len(trials)} networks, each with one quantizer narrowed")
    silent = replace(context, watch=Silent())  # a table of the cells is on the terminal
    found = measured_trials(recipe, (out / CELLS / cell.name).resolve(), space, trials, out, silent)
    growth = growth_of(found, space.widest())
    bops = Bops(space, context.data_root)
    own = {cell.name: cell for cell in plan.cells() if cell.start != SEARCH and cell.seed == plan.seeds[0]}
    trained = [space.widths(own[row["cell"]]) for row in rows if row["cell"] in own and row["state"] == "done"]
    assert plan.search is not None
    proposals = choose(growth, bops, space, trained, plan.search.proposals)
    ProposalsFile(cell=cell.name, proposals=proposals).write(out)
    return proposals


def choose(
    growth: Growth, bops: Bops, space: SearchSpace, trained: Sequence[Widths], count: int
) -> tuple[Proposal, ...]:
    """Choose the networks with the least growth at falling bounds on bit operations.

    The bounds lie evenly, as ratios, between the widest network and the narrowest. Which networks are beyond the
    Pareto front depends on what is predicted of the trained ones, not on what came of them, so that all are known
    before the first is trained.

    Args:
        growth: of the loss, by quantizer and bits.
        bops: of the networks.
        space: of the search.
        trained: bits of the cells that are trained; of quantizers without a choice too.
        count: of bounds.
    """
    solver = LeastGrowth(growth, bops)
    most = bops.count(space.widest())
    least = bops.count({path: min(choices) for path, choices in space.choices.items()})
    taken = [{path: widths[path] for path in space.choices} for widths in trained]
    known = [(bops.count(bits), summed(growth, bits)) for bits in taken]
    found = []
    for number in range(1, count + 1):
        bound = most * (least / most) ** (number / (count + 1))
        chosen = solver.choose(bound, taken)
        if chosen is None:
            continue
        bits, proven = chosen
        ours = (bops.count(bits), summed(growth, bits))
        found.append(Proposal(bits, *ours, bound, proven, is_beyond(ours, known)))
        taken.append(bits)
        if found[-1].beyond:
            known.append(ours)
    return tuple(found)


def is_beyond(ours: Known, known: Sequence[Known]) -> bool:
    """Return whether a network costs less than every one that is predicted to be at least as good."""
    bops, growth = ours
    return all(bops < cost for cost, grown in known if grown <= growth)


def _narrowed(recipe: Recipe, space: SearchSpace) -> list[Trial]:
    """Return the networks to measure: of every quantizer each choice but the widest, weights first."""
    kinds: list[tuple[Kind, tuple[str, ...]]] = [("weights", space.weights), ("activations", space.activations)]
    widest = space.widest()
    trials = []
    for kind, paths in kinds:
        for path in paths:
            for bits in sorted(space.choices[path], reverse=True)[1:]:
                narrow = space.recipe({**widest, path: bits})
                trials.append(Trial(path, kind, bits, recipe.replace(network=narrow.network, bits=narrow.bits)))
    return trials


def _read(out: Path, space: SearchSpace) -> tuple[Proposal, ...]:
    """Read what was proposed, and see that it is of these networks."""
    found = ProposalsFile.read(out).proposals
    for proposal in found:
        if {*proposal.bits} != {*space.choices} or any(
            bits not in space.choices[path] for path, bits in proposal.bits.items()
        ):
            raise ProposalsFile.source(out).damaged("its networks are not those of the sweep")
    return found

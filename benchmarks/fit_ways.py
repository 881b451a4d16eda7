"""Three ways to a network's bits at equal training: accuracy at equal LUTs.

Each way trains as many epochs as four cells of a whole sweep do. The sweep has the cells of equal bits, the search four
cells half as long and then trials a quarter as long, once from random drawings and once from sensitivities; the fit is
that of ``benchmarks.fit``, which comes first. LUTs of all networks are of that fit's cost model, with the folding that
takes fewest at the case's frame rate.

Usage: python -W ignore -m benchmarks.fit_ways [--case cnv-digits] [--seeds 3] [--work runs/bench-fit]
       [--out results/fit.jsonl]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import append, appended
from benchmarks.fit import BITS, CASES, Case, swept
from benchmarks.records import RESULTS
from qtrain.experiments.fit.choose import Solver
from qtrain.experiments.fit.cost import CostModel
from qtrain.experiments.fit.plan import read_plan
from qtrain.experiments.sensitivity.growth import growth_of
from qtrain.experiments.sensitivity.structure import structure_of
from qtrain.experiments.sweep.file import read_plan as read_sweep
from qtrain.experiments.sweep.plan import plan_sweep
from qtrain.experiments.sweep.run import resume_sweep, sweep
from qtrain.experiments.sweep.search_plan import STARTS, plan_search
from qtrain.experiments.sweep.search_space import SearchSpace
from qtrain.records.fit import CandidatesFile, CompiledFile, SensitivityFile
from qtrain.records.sweep import SweepFile
from qtrain.training.context import RunContext

CELLS = 4  # of the sweep, whose training each way may take
ENDS = (2, 8)  # bits of the search's own cells
Network = dict[str, Any]
Widths = Mapping[str, int]


class Luts:
    """Counts the LUTs of networks by a fit's cost model.

    Args:
        fitted: folder of the fit.
    """

    def __init__(self, fitted: Path):
        plan = read_plan(fitted)
        structure = structure_of(plan.recipe, plan.family, None)
        model = CostModel(structure, CompiledFile.read(fitted).networks)
        growth = growth_of(SensitivityFile.read(fitted), structure.widest())
        self._solver = Solver(model, growth, plan.limits, plan.cycles)

    def network(self, name: str, bits: Widths, validation: float, test: float) -> Network | None:
        """Return a network with its LUTs; None where it does not fit the board."""
        folded = self._solver.fold(bits)
        if folded is None:
            return None
        return {"name": name, "lut": round(folded.predicted["LUT"]), "validation": validation, "test": test}


def by_sweep(case: Case, seed: int, work: Path, luts: Luts) -> list[Network]:
    """Return the networks of the whole sweep."""
    plan = plan_sweep(case.family, **case.fields, seed=seed, weight_bits=BITS, act_bits=BITS)
    rows = swept(case, seed, work / case.name / f"sweep-{seed}")
    space = SearchSpace(plan)
    cells = {(cell.weight_bits, cell.act_bits): space.widths(cell) for cell in plan.cells()}
    return _networks(rows, {row["cell"]: cells[row["weight_bits"], row["act_bits"]] for row in rows}, luts)


def by_search(case: Case, seed: int, start: str, out: Path, luts: Luts) -> list[Network]:
    """Return the networks of a search; ``out`` is its folder."""
    epochs = case.fields["epochs"]
    own, trial = epochs // 2, max(1, epochs // 4)
    trials = (CELLS * epochs - len(ENDS) ** 2 * own) // trial
    wanted = plan_search(trials, own, epochs=trial, start=start)
    fields = case.fields | {"epochs": own}
    plan = plan_sweep(case.family, **fields, seed=seed, weight_bits=ENDS, act_bits=ENDS, search=wanted)
    context = RunContext(device="cpu", say=print)
    rows = resume_sweep(out, context) if SweepFile.is_in(out) else sweep(plan, out, context)
    found = read_sweep(out)
    space = SearchSpace(found)
    return _networks(rows, {cell.name: space.widths(cell) for cell in found.cells()}, luts)


def by_fit(fitted: Path, luts: Luts) -> list[Network]:
    """Return the networks of a fit."""
    done = [one for one in CandidatesFile.read(fitted).candidates if one.state == "done"]
    found = [luts.network(one.name, one.bits, one.validation_accuracy or 0.0, one.test_accuracy or 0.0) for one in done]
    return [network for network in found if network is not None]


def _networks(rows: list[dict[str, Any]], widths: Mapping[str, Widths], luts: Luts) -> list[Network]:
    found = []
    for row in rows:
        if row["state"] == "done":
            judged = (row["validation_accuracy"], row["test_accuracy"])
            found.append(luts.network(row["cell"], widths[row["cell"]], *judged))
    return [network for network in found if network is not None]


def ways(case: Case, seed: int, work: Path) -> dict[str, list[Network]]:
    """Return the networks of each way, and of the whole sweep, which trains four times as long."""
    fitted = work / case.name / f"fit-{seed}"
    luts = Luts(fitted)
    whole = by_sweep(case, seed, work, luts)
    found = {"whole sweep": whole, "sweep": [one for one in whole if _is_even(one["name"])]}
    for start in STARTS:
        found[f"search from {start}"] = by_search(case, seed, start, work / case.name / f"search-{start}-{seed}", luts)
    return found | {"fit": by_fit(fitted, luts)}


def _is_even(cell: str) -> bool:
    """Whether a cell has as many bits for weights as for activations."""
    return any(f"_{bits}W{bits}A-" in cell for bits in BITS)


def main() -> None:
    """Bring every seed of a case to its record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, default="cnv-digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-fit"))
    parser.add_argument("--out", type=Path, default=RESULTS / "fit.jsonl")
    options = parser.parse_args()
    case = CASES[options.case]
    done = {(one["case"], one["seed"]) for one in appended("fit_ways", options.out)}
    for seed in range(options.seeds):
        if (case.name, seed) in done:
            continue
        found = ways(case, seed, options.work)
        record = {"case": case.name, "seed": seed, "epochs": CELLS * case.fields["epochs"], "ways": found}
        append("fit_ways", record, options.out)
        print(f"{case.name} seed {seed}: {', '.join(f'{way} {len(of_it)}' for way, of_it in found.items())} networks")


if __name__ == "__main__":
    main()

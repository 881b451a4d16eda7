"""``qtrain fit`` against the whole sweep of bit widths: accuracy at equal LUTs, and the training that each took.

A case is a network on data with some seeds. Its sweep trains every cell of {1,2,4,8} x {1,2,4,8} from scratch; its fit
may train a quarter as long: one run at 8 bits and as many candidates as that leaves. For each cell of the sweep that
FINN takes, the record has the best validation accuracy that the fit reached with as few LUTs, and with which test
accuracy; a cell of the sweep has its LUTs with FINN's own folding at the same frame rate. They are asked for with the
first seed of one case a network: other weights move them by some LUTs in thousands. The cost model's error is that on
networks it was not fitted to.

Each part is kept in ``--work``, and what is done is not done again: a killed benchmark goes on by the same command.

Usage: python -W ignore -m benchmarks.fit [--case cnv-digits] [--seeds 3] [--work runs/bench-fit]
       [--out results/fit.jsonl]
       python -W ignore -m benchmarks.fit --judge RUN FOLDER   # the cost model's error alone
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.common import append, appended
from benchmarks.records import RESULTS
from qtrain.experiments.fit.compiled import PROBE
from qtrain.experiments.fit.cost import KINDS, CostModel
from qtrain.experiments.fit.plan import FitPlan, plan_fit
from qtrain.experiments.fit.rounds import fit
from qtrain.experiments.fit.state import begin
from qtrain.experiments.sensitivity.structure import structure_of
from qtrain.experiments.sweep.plan import SweepPlan, plan_sweep
from qtrain.experiments.sweep.run import resume_sweep, sweep
from qtrain.models import parse_name
from qtrain.recipe import default_recipe
from qtrain.records.fit import Candidate, CandidatesFile, CompiledFile, SensitivityFile
from qtrain.records.sweep import SweepFile
from qtrain.training.context import RunContext
from qtrain.training.folder import folder_recipe

BITS = (1, 2, 4, 8)
BOARD = "Pynq-Z2"
QUARTER = 0.25  # of the sweep's training time that the fit may take


@dataclass(frozen=True)
class Case:
    """What is compared.

    Attributes:
        name: of the case.
        family: of its networks.
        fields: of its recipe.
        fps: frames a second to fold for.
        widths: bits that the fit may give a layer.
        luts: case of the same network at the same rate, whose LUTs hold here too; its own by default.
    """

    name: str
    family: str
    fields: dict[str, Any]
    fps: int
    widths: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
    luts: str = ""


CASES = {
    case.name: case
    for case in (
        Case("tfc-digits", "TFC", {"data": "digits", "epochs": 8}, 10_000),
        Case("cnv-digits", "CNV", {"data": "digits", "width": 0.25, "epochs": 8}, 1000),
        Case(
            "cnv-cifar10",
            "CNV",
            {"data": "cifar10", "width": 0.25, "epochs": 6, "train_size": 5000},
            1000,
            luts="cnv-digits",
        ),
        Case("resnet20-digits", "RESNET20", {"data": "digits", "width": 0.25, "epochs": 8}, 300, BITS),
    )
}


def swept(case: Case, seed: int, out: Path) -> list[dict[str, Any]]:
    """Return the rows of the whole sweep with one seed; the compiler is asked about those of a network's first."""
    known = seed or case.luts
    hardware: dict[str, Any] = {} if known else {"board": BOARD, "target_fps": case.fps}
    plan: SweepPlan = plan_sweep(case.family, **case.fields, seed=seed, weight_bits=BITS, act_bits=BITS, **hardware)
    context = RunContext(device="cpu", say=print)
    return resume_sweep(out, context) if SweepFile.is_in(out) else sweep(plan, out, context)


def fitted(case: Case, seed: int, out: Path) -> CandidatesFile:
    """Return what a fit tried that trained a quarter as many networks as one seed of the sweep.

    The networks that the cost model is fitted to are put before the compiler with the first seed alone.
    """
    recipe = default_recipe(f"{case.family}_8W8A", case.fields["data"]).replace(**case.fields, seed=seed)
    networks = int(len(BITS) ** 2 * QUARTER)
    plan: FitPlan = plan_fit(recipe, BOARD, case.fps, widths=case.widths, hours=100, rounds=1, at_once=networks - 1)
    known = out.with_name("fit-0")
    if not out.exists() and CompiledFile.is_in(known):
        out.mkdir()
        begin(plan, out)
        answers = CompiledFile.read(known)
        probes = tuple(network for network in answers.networks if network.name.startswith(PROBE))
        replace(answers, networks=probes).write(out)
    fit(plan, out, RunContext(device="cpu", say=print))
    return CandidatesFile.read(out)


def luts_of(case: Case, work: Path) -> dict[str, int]:
    """Return the LUTs of every cell that FINN takes, as it folds it, from the sweep of the network's first seed.

    Args:
        case: whose cells are asked for.
        work: with a folder for each case.
    """
    first = CASES[case.luts or case.name]
    rows = swept(first, 0, work / first.name / "sweep-0")
    return {_cell(row): row["estimate"]["used"]["LUT"] for row in rows if row["estimate"]}


def _cell(row: dict[str, Any]) -> str:
    return f"{row['weight_bits']}W{row['act_bits']}A"


def _rank(one: Candidate) -> tuple[float, int]:
    """Order candidates as a fit does: by validation accuracy, of equal ones the smallest first."""
    return one.validation_accuracy or 0.0, -(one.used or {})["LUT"]


def compared(rows: list[dict[str, Any]], luts: dict[str, int], found: CandidatesFile) -> list[dict[str, Any]]:
    """Return for each cell of a sweep the best network of the fit with as few LUTs.

    Args:
        rows: of one seed.
        luts: of the cells that FINN takes.
        found: by the fit with that seed.
    """
    pairs = []
    for row in rows:
        if _cell(row) not in luts:
            continue
        lut = luts[_cell(row)]
        able = [one for one in found.candidates if one.used is not None and one.used["LUT"] <= lut]
        best = max(able, key=_rank, default=None)
        pairs.append(
            {
                "cell": _cell(row),
                "lut": lut,
                "sweep_test": row["test_accuracy"],
                "sweep_validation": row["validation_accuracy"],
                "fit": None if best is None else best.name,
                "fit_lut": None if best is None or best.used is None else best.used["LUT"],
                "fit_test": None if best is None else best.test_accuracy,
                "fit_validation": None if best is None else best.validation_accuracy,
            }
        )
    return pairs


def record_of(case: Case, seed: int, work: Path) -> dict[str, Any]:
    """Return the record of a case and seed; ``work`` holds a folder with sweeps and fits for each case."""
    luts = luts_of(case, work)
    rows = swept(case, seed, work / case.name / f"sweep-{seed}")
    out = work / case.name / f"fit-{seed}"
    found = fitted(case, seed, out)
    trained = [one.seconds for one in found.candidates if one.seconds]
    base = json.loads((out / "base" / "records.jsonl").read_text().splitlines()[-1])
    sensitivity = SensitivityFile.read(out)
    return {
        "case": asdict(case),
        "seed": seed,
        "board": BOARD,
        "sweep_train_seconds": round(sum(row["seconds"]["train"] or 0.0 for row in rows), 1),
        "fit_train_seconds": round(sum(trained) + base["seconds"], 1),
        "sweep_networks": len(rows),
        "fit_networks": len(trained) + 1,
        "fit_seconds": found.spent,
        "sensitivity_seconds": sensitivity.seconds,
        "rank_correlation": sensitivity.rank_correlation,
        "errors": list(found.errors),
        "predicted": [
            {"name": one.name, "predicted": one.predicted.get("LUT"), "lut": one.used["LUT"]}
            for one in found.candidates
            if one.used is not None
        ],
        "pairs": compared(rows, luts, found),
    }


def judged(run: Path, compiled: Path) -> dict[str, Any]:
    """Return how far a cost model is off that is fitted to a folder's answers of the compiler.

    Args:
        run: folder of the run at 8 bits.
        compiled: folder with ``compiled.json``.
    """
    recipe = folder_recipe(run)
    answers = CompiledFile.read(compiled)
    structure = structure_of(recipe, parse_name(recipe.network).family, None)
    model = CostModel(structure, answers.networks)
    held_out = [network for network in answers.networks if network.held_out]
    networks = []
    for network in answers.networks:
        predicted = model.predict(network.bits, model.folding_of(network))
        used = {kind: [round(predicted[kind], 1), network.used[kind]] for kind in KINDS}
        networks.append({"name": network.name, "held_out": network.held_out, "predicted_used": used})
    return {
        "network": recipe.network,
        "width": recipe.width,
        "data": recipe.data,
        "versions": dict(answers.versions),
        "fitted": len(answers.networks) - len(held_out),
        "error": asdict(model.error(held_out)),
        "networks": networks,
    }


def main() -> None:
    """Bring every seed of a case to its record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, default="cnv-digits")
    parser.add_argument("--seeds", type=int, default=3)
    about = "record a cost model's error alone: a run at 8 bits, and a folder with compiled.json"
    parser.add_argument("--judge", type=Path, nargs=2, metavar=("RUN", "FOLDER"), help=about)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-fit"))
    parser.add_argument("--out", type=Path, default=RESULTS / "fit.jsonl")
    options = parser.parse_args()
    if options.judge is not None:
        record = judged(*options.judge)
        append("fit_cost_model", record, options.out)
        print(f"{record['network']}: {record['error']}")
        return
    case = CASES[options.case]
    done = {(one["case"]["name"], one["seed"]) for one in appended("fit", options.out)}
    for seed in range(options.seeds):
        if (case.name, seed) in done:
            continue
        record = record_of(case, seed, options.work)
        append("fit", record, options.out)
        gains = [pair["fit_test"] - pair["sweep_test"] for pair in record["pairs"] if pair["fit"] is not None]
        print(f"{case.name} seed {seed}: median gain {statistics.median(gains):+.2f} points over {len(gains)} cells")


if __name__ == "__main__":
    main()

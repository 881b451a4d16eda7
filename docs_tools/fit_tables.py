"""What ``qtrain fit`` reaches beside a whole sweep of bit widths, as a table and a picture, from its records alone."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.records import NOT_YET, RESULTS, lines, table
from qtrain.report.sweep.pareto import pareto_front

PLOT = "fit.png"
PICTURE = f"![test accuracy over LUTs, of a sweep and of a fit]({PLOT})"
ABOUT = """A sweep trains each of its networks from scratch. A fit trains one at 8 bits, then three from its weights,
which have twice a cell's epochs behind them, in a quarter of the sweep's epochs. Networks are chosen on validation
images, the fit's among those with no more LUTs than the cell; the table compares their accuracy on test images."""
WHOLE = "whole sweep"
WAYS = """Three ways at equal training, a quarter of the whole sweep's: a sweep of equal bits for weights and
activations, a search from four cells of 2 and 8 bits with short trials, and the fit. Each is compared with the whole
sweep at the LUTs of each network on that one's front, in points of test accuracy; all LUTs are the cost model's."""
_CELLS, _FITTED = "#999999", "#0072B2"
Pair = Mapping[str, Any]  # a cell of the sweep, and the best network of the fit with as few LUTs


@dataclass(frozen=True)
class Against:
    """A fit beside one seed of a sweep, in points of test accuracy.

    Attributes:
        best: the sweep's best cell on validation images, with the fit's network beside it.
        gaps: fit minus cell, for each cell of the sweep's Pareto front that the fit has a network for.
        missed: cells of that front that are smaller than every network of the fit.
    """

    best: Pair
    gaps: tuple[float, ...]
    missed: tuple[str, ...]


def against(pairs: Sequence[Pair]) -> Against:
    """Judge one seed; networks are chosen on validation images, and test images compare them."""
    best = max(pairs, key=lambda pair: (pair["sweep_validation"], -pair["lut"]))
    at = pareto_front([float(pair["lut"]) for pair in pairs], [pair["sweep_validation"] for pair in pairs])
    front = [pairs[i] for i in at]
    gaps = tuple(gap(pair) for pair in front if pair["fit"] is not None)
    return Against(best, gaps, tuple(pair["cell"] for pair in front if pair["fit"] is None))


def gap(pair: Pair) -> float:
    """Return how many points of test accuracy the fit's network is above a cell."""
    return float(pair["fit_test"] - pair["sweep_test"])


def newest(name: str = "fit.jsonl") -> dict[str, list[dict[str, Any]]]:
    """Return the last record of each seed, by case."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for record in lines(name):
        if record["benchmark"] == "fit":
            found.setdefault(record["case"]["name"], {})[record["seed"]] = record
    return {case: [by_seed[seed] for seed in sorted(by_seed)] for case, by_seed in found.items()}


def fits() -> str:
    """Return the tables: fit against sweeps, and how far the cost model is off."""
    cases = newest()
    if not cases:
        return NOT_YET
    rows = [_row(record) for records in cases.values() for record in records]
    head = ["network, seed", "epochs, sweep / fit", "best cell", "its LUT", "its test, %"]
    head += ["fit's LUT", "fit's test, %", "fit minus cell", "on the sweep's front: median [worst]", "cost model off"]
    return "\n\n".join([ABOUT, table(head, rows), *map(_summary, cases.values()), _ways(), _errors()])


def _row(record: dict[str, Any]) -> list[str]:
    found = against(record["pairs"])
    best = found.best
    name = f"{record['case']['name']}, {record['seed']}"
    epochs = record["case"]["fields"]["epochs"]
    trained = f"{record['sweep_networks'] * epochs} / {record['fit_networks'] * epochs}"
    off = f"{record['errors'][-1]['lut']:.1%}"
    known = [name, trained, best["cell"], f"{best['lut']:,}", f"{best['sweep_test']:.2f}"]
    if best["fit"] is None:
        return [*known, "none as small", "", "", _gaps(found), off]
    return [*known, f"{best['fit_lut']:,}", f"{best['fit_test']:.2f}", f"{gap(best):+.2f}", _gaps(found), off]


def _gaps(found: Against) -> str:
    said = []
    if found.gaps:
        said.append(f"{statistics.median(found.gaps):+.2f} [{min(found.gaps):+.2f}] of {len(found.gaps)}")
    if found.missed:
        said.append(f"none as small as {', '.join(found.missed)}")
    return "; ".join(said)


def _summary(records: list[dict[str, Any]]) -> str:
    """Return a sentence on a case: the best cell's test accuracy at its LUTs, over seeds."""
    found = [against(record["pairs"]).best for record in records]
    gaps = [gap(best) for best in found if best["fit"] is not None]
    name = records[0]["case"]["name"]
    seeds = len(found)
    if len(gaps) < seeds:
        return f"{name}: in {seeds - len(gaps)} of {seeds} seeds the fit has no network as small as the best cell."
    share = statistics.mean(best["fit_lut"] / best["lut"] for best in found)
    return (
        f"{name}: {statistics.mean(gaps):+.2f} points [{min(gaps):+.2f}..{max(gaps):+.2f}] to the sweep's best cell "
        f"over {seeds} seeds, in {share:.0%} of its LUTs."
    )


def _ways() -> str:
    """Return how far each way to bits is from the whole sweep at equal LUTs, with a quarter of its training."""
    cases: dict[str, dict[int, dict[str, Any]]] = {}
    for record in lines("fit.jsonl"):
        if record["benchmark"] == "fit_ways":
            cases.setdefault(record["case"], {})[record["seed"]] = record
    if not cases:
        return ""
    rows = []
    for case, by_seed in cases.items():
        for way in next(iter(by_seed.values()))["ways"]:
            if way != WHOLE:
                distances = [distance for record in by_seed.values() for distance in to_whole(record["ways"], way)]
                rows.append([case, str(len(by_seed)), way, *_distances(distances)])
    head = ["network", "seeds", "way", "minus the whole sweep at equal LUTs", "worst", "best", "as small as its front"]
    return f"{WAYS}\n\n{table(head, rows)}"


def to_whole(ways: Mapping[str, Sequence[Mapping[str, Any]]], way: str) -> list[float | None]:
    """Return how many points of test accuracy a way is above each network of the whole sweep's front.

    Args:
        ways: networks by way, with ``lut``, ``validation`` and ``test``.
        way: to judge.

    Returns:
        None where it has no network as small.
    """
    whole = ways[WHOLE]
    at = pareto_front([float(one["lut"]) for one in whole], [one["validation"] for one in whole])
    found: list[float | None] = []
    for cell in (whole[i] for i in at):
        able = [one for one in ways[way] if one["lut"] <= cell["lut"]]
        best = max(able, key=lambda one: (one["validation"], -one["lut"]), default=None)
        found.append(None if best is None else best["test"] - cell["test"])
    return found


def _distances(distances: Sequence[float | None]) -> list[str]:
    known = [distance for distance in distances if distance is not None]
    many = f"{len(known)} of {len(distances)}"
    if not known:
        return ["", "", "", many]
    return [f"{statistics.mean(known):+.2f}", f"{min(known):+.2f}", f"{max(known):+.2f}", many]


def _errors() -> str:
    """Return how far the cost model was off on networks that it was not fitted to, by network."""
    rows = []
    for record in lines("fit.jsonl"):
        if record["benchmark"] == "fit_cost_model":
            error = record["error"]
            shown = [f"{error[kind]:.1%}" for kind in ("lut", "lut_most", "layer_lut")]
            where = f"{record['network']} width {record['width']:g}, {record['data']}"
            rows.append([where, str(record["fitted"]), str(error["networks"]), *shown, f"{error['bram']:.1f}"])
    head = ["network", "fitted to", "judged on", "LUT, median", "LUT, most", "LUT of a layer", "BRAM_18K"]
    return f"The cost model on networks that it was not fitted to:\n\n{table(head, rows)}" if rows else ""


def draw_fits() -> None:
    """Draw a panel for each case into ``results``: accuracy against LUTs, of cells and of the fit's networks."""
    cases = newest()
    if not cases:
        return
    figure = Figure(figsize=(3.6 * len(cases), 3.4), layout="constrained")
    panels = figure.subplots(1, len(cases), squeeze=False)[0]
    for axes, (name, records) in zip(panels, cases.items(), strict=True):
        _draw(axes, name, records)
    panels[0].set_ylabel("test accuracy, %")
    panels[0].legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(RESULTS / PLOT, dpi=130)


def _draw(axes: Axes, name: str, records: list[dict[str, Any]]) -> None:
    cells = [(pair["lut"], pair["sweep_test"]) for record in records for pair in record["pairs"]]
    networks = [fitted for record in records for fitted in fitted_of(record["pairs"])]
    axes.plot(*zip(*cells, strict=True), "o", ms=4, color=_CELLS, label="sweep, 16 networks a seed", mew=0)
    axes.plot(*zip(*networks, strict=True), "s", ms=5, color=_FITTED, label="fit, a quarter of the training", mew=0)
    axes.set_title(f"{name}, {len(records)} seeds", fontsize=9, loc="left")
    axes.set_xlabel("LUT, by FINN's estimate")
    axes.grid(True, color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def fitted_of(pairs: Sequence[Pair]) -> list[tuple[int, float]]:
    """Return LUTs and test accuracy of the fit's networks that are the best for some cell."""
    found = {pair["fit"]: (pair["fit_lut"], pair["fit_test"]) for pair in pairs if pair["fit"] is not None}
    return list(found.values())

"""What the script of a comparison's page reads: schedulers, and every comparison with its runs by epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

from qtrain.report.colours import Look
from qtrain.report.comparison.describe import KINDS, curve_facts, plot_texts, split_name, value_of
from qtrain.report.comparison.read import ComparisonData, Run
from qtrain.schedulers.catalogue import label_of, row_of

_DIGITS = 6  # of a number in a curve: more than can be seen, and a page of many runs stays small


def page_data(comparisons: Sequence[ComparisonData], looks: Mapping[str, Look]) -> dict[str, Any]:
    """Return plain values for the page's script.

    Args:
        comparisons: one, or those of a grid.
        looks: of all their schedulers.
    """
    schedulers = []
    for name, look in looks.items():
        schedulers.append({"name": name, "variable": look.variable, "dash": look.dash, "symbol": look.symbol})
    return {
        "schedulers": schedulers,
        "comparisons": [_comparison(data) for data in comparisons],
        "curves": {kind: curve_facts(comparisons[0], kind) for kind in KINDS},
    }


def differs(comparisons: Sequence[ComparisonData]) -> bool:
    """Return whether there is any difference to draw."""
    return any(verdict.difference is not None for data in comparisons for verdict in data.verdicts)


def _comparison(data: ComparisonData) -> dict[str, Any]:
    network = str(data.recipe.get("network"))
    family, bits = split_name(network)
    texts = plot_texts(data)
    return {
        "name": f"{network} on {data.recipe.get('data')}",
        "short": f"{family} {bits}".rstrip(),
        "challenger": label_of(data.challenger),
        "tolerance": data.tolerance,
        "seeds": data.seeds,
        "runs": [_run(data, run) for run in data.runs],
        "differences": _differences(data),
        "texts": {kind: texts[kind] for kind in KINDS},
    }


def _differences(data: ComparisonData) -> list[dict[str, Any]]:
    """Return the challenger minus each scheduler it is held against: mean, interval, verdict, single seeds."""
    ours = data.by_seed(data.challenger)
    found = []
    for verdict in data.verdicts:
        theirs = data.by_seed(verdict.baseline)
        difference = verdict.difference
        found.append(
            {
                "against": verdict.baseline,
                "answer": str(verdict.answer),
                "mean": difference and difference.mean,
                "low": difference and difference.low,
                "high": difference and difference.high,
                "seeds": {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs},
            }
        )
    return found


def _run(data: ComparisonData, run: Run) -> dict[str, Any]:
    curves: dict[str, list[float | None]] = {}
    for kind in KINDS:
        curves[kind] = [_rounded(value_of(kind)(epoch)) for epoch in run.epochs]
    # a line search may step by 0 or backwards, which a logarithmic axis cannot show
    curves["lr"] = [_rounded(epoch.lr) if epoch.lr > 0 else None for epoch in run.epochs]
    return {
        "scheduler": run.scheduler,
        "seed": run.seed,
        "test": run.test_accuracy,
        "curves": curves,
        "draws": _draws(run) if run is data.of(run.scheduler)[0] else [],  # of one seed: all would hide the curves
    }


def _draws(run: Run) -> list[tuple[int, float]]:
    """Return epoch and rate of every layer's last draw in it."""
    if row_of(run.scheduler).family != "aslr":
        return []
    found = []
    for epoch in run.epochs:
        found += [(epoch.epoch, _rounded(rate)) for rate in epoch.draws.values() if rate > 0]
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")

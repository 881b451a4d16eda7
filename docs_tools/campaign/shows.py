"""What the campaign shows and what it does not, in sentences whose numbers come from the records."""

from benchmarks.campaign_plan import BITS, GRID, HOME, SEEDS, tuned
from docs_tools.campaign.cells import Found
from docs_tools.campaign.ways import ONCE, OURS, TUNED, Way, cell, gap, runs_of
from qtrain.recipe import default_recipe
from qtrain.schedulers.catalogue import DEFAULT

LIMITS = (
    "What this does not show: other networks and data, longer trainings, or a multi-step whose milestones were tuned "
    f"too. One network, one data set, 20 epochs, {len(SEEDS)} seeds."
)


def shows(found: Found) -> str:
    """Return one paragraph, without what cannot be said yet."""
    return " ".join(part for part in (_one_rate(found), _ahead(found), _baseline(found)) if part)


def _one_rate(found: Found) -> str:
    """Say how far ASLR's default with one rate at all widths is from the baseline tuned at each."""
    text = (
        f"CNV on CIFAR-10 at {'/'.join(map(str, BITS))} bits: `{DEFAULT}` minus the multi-step that was tuned at each "
        f"width ({TUNED.tuning_runs} runs) is {_points(found, OURS[DEFAULT])} points from the range test's one rate, "
        "without a tuning run"
    )
    if any(cell(found, ONCE, bits) for bits in BITS):
        rate = runs_of(found, ONCE, HOME)[0].lr
        text += f", and {_points(found, ONCE)} from one rate, {rate:g}, tuned at {HOME} bits alone ({len(GRID)} runs)"
        if rate == default_recipe(f"CNV_{HOME}W{HOME}A", "cifar10").lr:
            text += ", the one that the recipe ships with"
        ahead, pairs = _pairs_ahead(found, ONCE, TUNED)
        text += f"; so tuned it is ahead in {ahead} of {pairs} pairs of one width and seed"
    return f"{text}."


def _points(found: Found, way: Way) -> str:
    """Return ``+1.7/+0.5/missing/-2.2``, by bit width."""
    gaps = [gap(found, way, TUNED, bits) for bits in BITS]
    return "/".join("missing" if difference is None else f"{difference.mean:+.1f}" for difference in gaps)


def _ahead(found: Found) -> str:
    """Say in how many pairs of one width and one seed ASLR's default is ahead of the others at the same rate."""
    counts = []
    for way in OURS.values():
        if way.scheduler != DEFAULT:
            ahead, pairs = _pairs_ahead(found, OURS[DEFAULT], way)
            counts.append(f"of `{way.scheduler}` in {ahead} of {pairs}")
    return f"From the range test's rate `{DEFAULT}` is ahead {', '.join(counts)} pairs of one width and seed."


def _pairs_ahead(found: Found, ours: Way, theirs: Way) -> tuple[int, int]:
    """Return the pairs of one width and seed in which ``ours`` is ahead, and how many there are."""
    gaps = []
    for bits in BITS:
        accuracies, others = cell(found, ours, bits), cell(found, theirs, bits)
        gaps += [accuracies[seed] - others[seed] for seed in accuracies.keys() & others.keys()]
    return sum(points > 0 for points in gaps), len(gaps)


def _baseline(found: Found) -> str:
    """Say at which widths the rate that multi-step has at 8 bits is its best too."""
    home = tuned(found, HOME)
    if home is None:
        return ""
    same = [str(bits) for bits in BITS if tuned(found, bits) == home]
    said = f"Multi-step's best rate at {HOME} bits, {home:g}, is also its best at {len(same)} of {len(BITS)} widths"
    if len(same) == len(BITS):
        return f"{said}: on this network multi-step needed no retuning either, only the {len(GRID)} runs that found it."
    return f"{said} ({', '.join(same)})."

"""What the campaign shows and what it does not, in sentences whose numbers come from the records."""

from benchmarks.campaign_plan import BITS, GRID, HOME, SEEDS, tuned
from docs_tools.campaign.cells import Found, means_text
from docs_tools.campaign.ways import ONCE, OURS, TUNED, Way, cell, gap, runs_of
from qtrain.schedulers.catalogue import DEFAULT

_WIDTHS = "/".join(map(str, BITS))
LIMITS = (
    "What this does not show: other networks and data, longer trainings, or a multi-step whose milestones were tuned "
    f"too. One network, one data set, 20 epochs, {len(SEEDS)} seeds."
)


def shows(found: Found) -> str:
    """Return one paragraph, without what cannot be said yet."""
    return " ".join(part for part in (_untuned(found), _ahead(found), _baseline(found), _tuned_once(found)) if part)


def _untuned(found: Found) -> str:
    """Say how far ASLR's default is from the tuned baseline without a tuning run of its own."""
    gaps = [gap(found, OURS[DEFAULT], TUNED, bits) for bits in BITS]
    points = "/".join("missing" if difference is None else f"{difference.mean:+.1f}" for difference in gaps)
    return (
        f"With the range test's one rate and no tuning run `{DEFAULT}` is {points} points from the multi-step that "
        f"{TUNED.tuning_runs} runs tuned at each width, at {_WIDTHS} bits."
    )


def _ahead(found: Found) -> str:
    """Say in how many pairs of one width and one seed ASLR's default is ahead of the others at the same rate."""
    counts = []
    for way in OURS.values():
        if way.scheduler != DEFAULT:
            ahead, pairs = _pairs_ahead(found, OURS[DEFAULT], way)
            counts.append(f"of `{way.scheduler}` in {ahead} of {pairs}")
    return f"At the same rate `{DEFAULT}` is ahead {', '.join(counts)} pairs of one width and seed."


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


def _tuned_once(found: Found) -> str:
    """Say what ASLR's default reaches from a rate that was tuned as the baseline's was."""
    cells = [cell(found, ONCE, bits) for bits in BITS]
    if not all(cells):
        return ""
    rate = runs_of(found, ONCE, HOME)[0].lr
    return (
        f"With its one rate tuned at {HOME} bits alone, as multi-step's was ({len(GRID)} runs: {rate:g}), "
        f"`{ONCE.scheduler}` ends at {means_text(cells)} % at {_WIDTHS} bits, the tuned multi-step at "
        f"{means_text([cell(found, TUNED, bits) for bits in BITS])}."
    )

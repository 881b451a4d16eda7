"""What the campaign shows and what it does not, in sentences whose numbers come from the records."""

from benchmarks.campaign_plan import BITS, CONTROL, GRID, HOME, SEEDS, tuned
from docs_tools.campaign.cells import Found
from docs_tools.campaign.ways import CONTROLLED, ONCE, OURS, TUNED, Way, cell, gap, runs_of
from qtrain.recipe import default_recipe
from qtrain.schedulers.catalogue import DEFAULT

LIMITS = (
    "What this does not show: other networks and data, longer trainings, or a multi-step whose milestones were tuned "
    f"too. One network, one data set, 20 epochs, {len(SEEDS)} seeds."
)


def shows(found: Found) -> str:
    """Return a list of plain sentences, without what cannot be said yet."""
    told = (_from_range_test(found), _tuned_once(found), _search(found), _baseline(found))
    lines = [f"- {sentence}" for sentence in told if sentence]
    return "\n".join([f"CNV on CIFAR-10, test accuracy at {'/'.join(map(str, BITS))} bits, in points:", "", *lines])


def _from_range_test(found: Found) -> str:
    """Say how far ASLR's default is from the tuned baseline, and how often ahead of the others, without any tuning."""
    counts = []
    for way in OURS.values():
        if way.scheduler != DEFAULT:
            ahead, pairs = _pairs_ahead(found, OURS[DEFAULT], way)
            counts.append(f"of `{way.scheduler}` in {ahead} of {pairs}")
    return (
        f"From the range test's one rate, without a tuning run, `{DEFAULT}` is {_points(found, OURS[DEFAULT], TUNED)} "
        f"from the multi-step that was tuned at each width ({TUNED.tuning_runs} runs), and from the same rate ahead "
        f"{', '.join(counts)} pairs of one width and seed."
    )


def _tuned_once(found: Found) -> str:
    """Say how far it is from the tuned baseline where its one rate was tuned at 8 bits."""
    if not any(cell(found, ONCE, bits) for bits in BITS):
        return ""
    rate = runs_of(found, ONCE, HOME)[0].lr
    shipped = default_recipe(f"CNV_{HOME}W{HOME}A", "cifar10").lr
    is_shipped = ", which the recipe ships with" if rate == shipped else ""
    ahead, pairs = _pairs_ahead(found, ONCE, TUNED)
    return (
        f"From one rate that was tuned at {HOME} bits alone ({len(GRID)} runs: {rate:g}{is_shipped}) it is "
        f"{_points(found, ONCE, TUNED)} from that multi-step, and ahead in {ahead} of {pairs} pairs."
    )


def _search(found: Found) -> str:
    """Say what the search brings over the same schedule without it."""
    brought = _points(found, OURS[DEFAULT], OURS[CONTROL])
    text = f"Its search brings {brought} over `{CONTROL}`, the same schedule without it, from the range test's rate"
    if any(cell(found, CONTROLLED, bits) for bits in BITS):
        seeds = max(len(cell(found, CONTROLLED, bits)) for bits in BITS)
        of = "one seed" if seeds == 1 else f"{seeds} seeds"
        text += f", and {_points(found, ONCE, CONTROLLED)} from the tuned one ({of})"
    return f"{text}."


def _baseline(found: Found) -> str:
    """Say at which widths the rate that multi-step has at 8 bits is its best too."""
    home = tuned(found, HOME)
    if home is None:
        return ""
    same = [str(bits) for bits in BITS if tuned(found, bits) == home]
    said = f"Multi-step's best rate at {HOME} bits, {home:g}, is its best at {len(same)} of {len(BITS)} widths"
    if len(same) == len(BITS):
        return f"{said}: on this network it needed no retuning either."
    return f"{said} ({', '.join(same)})."


def _points(found: Found, ours: Way, theirs: Way) -> str:
    """Return the difference by bit width, ``+1.7/+0.5/missing/-2.2``."""
    gaps = [gap(found, ours, theirs, bits) for bits in BITS]
    return "/".join("missing" if difference is None else f"{difference.mean:+.1f}" for difference in gaps)


def _pairs_ahead(found: Found, ours: Way, theirs: Way) -> tuple[int, int]:
    """Return the pairs of one width and seed in which ``ours`` is ahead, and how many there are."""
    gaps = []
    for bits in BITS:
        accuracies, others = cell(found, ours, bits), cell(found, theirs, bits)
        gaps += [accuracies[seed] - others[seed] for seed in accuracies.keys() & others.keys()]
    return sum(points > 0 for points in gaps), len(gaps)

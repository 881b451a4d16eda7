"""Verdicts in words, for the terminal, pages and error lines."""

from collections.abc import Mapping, Sequence

from qtrain.report.comparison.verdict import LIMIT, Answer, Verdict
from qtrain.report.statistics import Difference
from qtrain.schedulers.catalogue import label_of

# On the terminal; undecided is neither good nor bad, so it has the text's own colour.
STYLES = {Answer.HOLDS: "bold green", Answer.UNDECIDED: "bold", Answer.SHORT: "bold red"}
# On pages: the class in base.html
CLASSES = {Answer.HOLDS: "holds", Answer.UNDECIDED: "undecided", Answer.SHORT: "short"}
_VERBS = {Answer.HOLDS: "holds", Answer.UNDECIDED: "is undecided", Answer.SHORT: "falls short"}


def words_line(tolerance: float) -> str:
    """Return what the three answers mean, in one line.

    Args:
        tolerance: points that the challenger may fall short by.
    """
    return (
        f"Holds: the lower end of the difference's 95 % interval is at most the tolerance ({tolerance:g} points) below "
        "0; falls short: even the upper end is further below; undecided: anything else, and one seed always."
    )


def sentence(verdict: Verdict) -> str:
    """Return a verdict with the numbers that it rests on."""
    name = label_of(verdict.challenger)
    baseline = verdict.baseline
    if verdict.lost:
        return f"{name} falls short of {baseline}: {name} diverged with {_seeds(verdict.lost)}."
    if verdict.baseline_lost or verdict.difference is None:
        return (
            f"Undecided whether {name} holds against {baseline}, which diverged with {_seeds(verdict.baseline_lost)}; "
            f"further seeds cannot decide while {baseline} diverges."
        )
    how_far = _points(verdict.difference)
    if verdict.one_seed:
        return (
            f"Undecided: one seed gives no interval. With it {name}'s test accuracy is {how_far} {baseline}'s; the "
            f"tolerance is {verdict.tolerance:g} points, and how many further seeds would decide is unknown."
        )
    interval = f"{verdict.difference.low:+.2f} to {verdict.difference.high:+.2f}"
    found = f"{how_far} (95 % interval {interval}, {verdict.difference.seeds} paired seeds)"
    allowed = f"the tolerance of {verdict.tolerance:g} points"
    if verdict.answer is Answer.HOLDS:
        return f"{name} holds against {baseline}: {found}; even the interval's lower end is within {allowed}."
    if verdict.answer is Answer.SHORT:
        return f"{name} falls short of {baseline}: {found}; even the interval's upper end is beyond {allowed}."
    return (
        f"Undecided whether {name} holds against {baseline}: {found}; the interval reaches to both sides of {allowed}; "
        f"{_further_words(verdict)}."
    )


def sentences(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts of one network with their numbers, the worst first."""
    worst_first = sorted(verdicts, key=lambda verdict: -verdict.answer.severity)
    return " ".join(sentence(verdict) for verdict in worst_first)


def further_text(verdict: Verdict) -> str:
    """Return the further seeds that would decide, ``22`` or ``over 100``; empty where decided or unknown."""
    if verdict.further_seeds is not None:
        return str(verdict.further_seeds)
    known = verdict.answer is Answer.UNDECIDED and not verdict.baseline_lost and not verdict.one_seed
    return f"over {LIMIT}" if known else ""


def tally(answers: Mapping[str, Answer], places: str) -> str:
    """Return ``falls short on 1 of 3 networks (A), holds on 2 (B, C)``, the worst first.

    Args:
        answers: by the name of the place.
        places: what they are, with a preposition, as in ``on networks``.
    """
    preposition, _, noun = places.partition(" ")
    parts: list[str] = []
    for answer in sorted(set(answers.values()), key=lambda answer: -answer.severity):
        names = [name for name, found in answers.items() if found is answer]
        count = f"{len(names)}"
        if not parts:  # the first alone says of how many
            count += f" of {len(answers)} {noun}"
        parts.append(f"{_VERBS[answer]} {preposition} {count} ({', '.join(names)})")
    return ", ".join(parts)


def _further_words(verdict: Verdict) -> str:
    """Return how many further seeds would decide a verdict that is undecided by its interval."""
    if verdict.further_seeds is not None:
        seeds = "1 further seed" if verdict.further_seeds == 1 else f"{verdict.further_seeds} further seeds"
        return f"{seeds} would decide if mean and spread stayed as they are"
    if verdict.difference is not None and verdict.difference.mean == -verdict.tolerance:
        return "no number of seeds would decide with the mean at the tolerance itself"
    return f"more than {LIMIT} further seeds would be needed if mean and spread stayed as they are"


def _seeds(seeds: Sequence[int]) -> str:
    noun = "seed" if len(seeds) == 1 else "seeds"
    return f"{noun} {', '.join(map(str, seeds))}"


def _points(difference: Difference) -> str:
    side = "below" if difference.mean < 0 else "above"
    return f"{abs(difference.mean):.2f} points {side}"

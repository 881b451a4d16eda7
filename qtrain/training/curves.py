"""What the curves of a run tell of its first rate, beside its result."""

from collections.abc import Sequence
from statistics import mean

from qtrain.recipe import Recipe
from qtrain.records.runs import Epoch
from qtrain.schedulers.catalogue import row_of

EARLY = 0.5  # of the epochs: a run that was best so soon has not used the others
LATE = 4  # the last epochs, of which one in so many is looked at: the last quarter
POINTS = 5.0  # of validation accuracy that are lost by then
LEARNED = 0.8  # a training loss below this part of what it was at the best epoch: the network has learned since


def too_high(epochs: Sequence[Epoch], recipe: Recipe) -> str | None:
    """Return a sentence where the curves say that the first rate was probably too high; None where they don't.

    They do where validation accuracy was best in the first half of the run, is ``POINTS`` lower in the last quarter,
    and the training loss has not fallen since, as it would in a network that learns its training images by heart. A
    rate that is too low has no such mark: its curves rise to the end, as those of a good one.

    Args:
        epochs: all of the run, in order.
        recipe: of the run.
    """
    if len(epochs) < LATE or not row_of(recipe.scheduler).reads_lr:
        return None
    accuracies = [epoch.validation_accuracy for epoch in epochs]
    best = accuracies.index(max(accuracies))
    lost = accuracies[best] - mean(accuracies[-(len(epochs) // LATE) :])
    if best + 1 > EARLY * len(epochs) or lost < POINTS or epochs[-1].loss < LEARNED * epochs[best].loss:
        return None
    return (
        f"validation was best after epoch {best + 1} of {len(epochs)} and is {lost:.0f} points lower in the last "
        f"quarter, where the training loss has not fallen either: a first rate of {recipe.rate:g} is probably too "
        "high; take a lower one, or what --lr auto finds if it is not from there"
    )

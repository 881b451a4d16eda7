"""What a search for per-layer bits is asked for."""

from dataclasses import dataclass

from qtrain.errors import UserError, did_you_mean

COSTS = {"bops": ("cost", "bops"), "lut": ("estimate", "used", "LUT")}  # where a row has the number
NO_PRUNER = "none"
PRUNERS = (NO_PRUNER, "median")
RANDOM = "random"
SENSITIVITY = "sensitivity"
STARTS = (RANDOM, SENSITIVITY)


@dataclass(frozen=True)
class SearchPlan:
    """A search for per-layer bits, beyond a sweep's own cells.

    Attributes:
        trials: cells to train beyond the sweep's own.
        cost: that accuracy is weighed against: bops (bit operations an image) or lut (FINN's estimate).
        epochs: that each trains, from the best weights of its nearest neighbour.
        pruner: none, or median: a trial ends early where it is less accurate than half of those that cost no more.
        start: what the first trials come of: random drawings, or the layers' sensitivity.
    """

    trials: int
    cost: str
    epochs: int
    pruner: str = NO_PRUNER
    start: str = RANDOM

    def __post_init__(self) -> None:
        for name, value in (("search", self.trials), ("search_epochs", self.epochs)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} must be a whole number, 1 or more, but got {value!r}")
        for name, word, known in (
            ("search_cost", self.cost, tuple(COSTS)),
            ("search_pruner", self.pruner, PRUNERS),
            ("search_from", self.start, STARTS),
        ):
            if word not in known:
                raise UserError(
                    f"{name} must be one of {', '.join(known)}, but got {word!r}{did_you_mean(word, known)}"
                )
        if self.start == SENSITIVITY and self.cost != "bops":
            raise UserError(
                f"search_from {SENSITIVITY} weighs the loss against bops, and search_cost is {self.cost}; take "
                f"search_cost bops, search_from {RANDOM}, or qtrain fit, which weighs it against LUTs"
            )

    @property
    def proposals(self) -> int:
        """How many networks the sensitivities propose at most: half of the trials, the odd one too."""
        return (self.trials + 1) // 2 if self.start == SENSITIVITY else 0


def plan_search(
    trials: int,
    recipe_epochs: int,
    cost: str | None = None,
    epochs: int | None = None,
    pruner: str | None = None,
    start: str | None = None,
) -> SearchPlan:
    """Plan a search as it is asked for.

    Args:
        trials: cells to train beyond the sweep's own.
        recipe_epochs: that each of the sweep's own cells trains.
        cost: bops or lut; default bops.
        epochs: of a trial; default a third of the recipe's, at least 1.
        pruner: none or median; default none.
        start: random or sensitivity; default random.

    Raises:
        UserError: a number below 1, no such cost, pruner or start, or a start that the cost does not go with.
    """
    if cost is None:
        cost = "bops"
    if epochs is None:
        epochs = max(1, recipe_epochs // 3)
    return SearchPlan(trials, cost, epochs, pruner or NO_PRUNER, start or RANDOM)

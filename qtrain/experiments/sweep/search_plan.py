"""What a search for per-layer bits is asked for."""

from dataclasses import dataclass

from qtrain.errors import UserError, did_you_mean

COSTS = {"bops": ("cost", "bops"), "lut": ("estimate", "used", "LUT")}  # where a row has the number
NO_PRUNER = "none"
PRUNERS = (NO_PRUNER, "median")


@dataclass(frozen=True)
class SearchPlan:
    """A search for per-layer bits, beyond a sweep's own cells.

    Attributes:
        trials: cells to train beyond the sweep's own.
        cost: that accuracy is weighed against: bops (bit operations an image) or lut (FINN's estimate).
        epochs: that each trains, from the best weights of its nearest neighbour.
        pruner: none, or median: a trial ends early where it is less accurate than half of those that cost no more.
    """

    trials: int
    cost: str
    epochs: int
    pruner: str = NO_PRUNER

    def __post_init__(self) -> None:
        for name, value in (("search", self.trials), ("search_epochs", self.epochs)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} must be a whole number, 1 or more, but got {value!r}")
        if self.cost not in COSTS:
            hint = did_you_mean(self.cost, COSTS)
            raise UserError(f"search_cost must be one of {', '.join(COSTS)}, but got {self.cost!r}{hint}")
        if self.pruner not in PRUNERS:
            hint = did_you_mean(self.pruner, PRUNERS)
            raise UserError(f"search_pruner must be one of {', '.join(PRUNERS)}, but got {self.pruner!r}{hint}")


def plan_search(
    trials: int,
    recipe_epochs: int,
    cost: str | None = None,
    epochs: int | None = None,
    pruner: str | None = None,
) -> SearchPlan:
    """Plan a search as it is asked for.

    Args:
        trials: cells to train beyond the sweep's own.
        recipe_epochs: that each of the sweep's own cells trains.
        cost: bops or lut; default bops.
        epochs: of a trial; default a third of the recipe's, at least 1.
        pruner: none or median; default none.

    Raises:
        UserError: a number below 1, or no such cost or pruner.
    """
    if cost is None:
        cost = "bops"
    if epochs is None:
        epochs = max(1, recipe_epochs // 3)
    return SearchPlan(trials, cost, epochs, pruner or NO_PRUNER)

"""What the no-retuning experiment is to run, checked before anything does."""

from collections.abc import Sequence
from dataclasses import dataclass

from qtrain.errors import UserError
from qtrain.experiments.comparison.tune import FIRST_SEED
from qtrain.models import check_network, parse_name
from qtrain.models.asked import split_bits
from qtrain.recipe import AUTO, Recipe
from qtrain.schedulers.catalogue import DEFAULT, SCHEDULERS

TUNING_RATES = (0.1, 0.03, 0.01, 0.003)


@dataclass(frozen=True)
class Plan:
    """What is to run.

    Attributes:
        recipes: one a bit width, in the order of the table.
        home: the network whose rate and tuning all others are given.
        schedulers: of ASLR's family.
        tuning_rates: learning rates that the baseline is tuned over at each width.
        tune_seeds: runs a rate.
        seeds: runs a cell.
        tunes_lr: whether the first scheduler is tuned over the same rates at home, for the one rate of all.
    """

    recipes: tuple[Recipe, ...]
    home: str
    schedulers: tuple[str, ...] = (DEFAULT,)
    tuning_rates: tuple[float, ...] = TUNING_RATES
    tune_seeds: int = 1
    seeds: int = 3
    tunes_lr: bool = False

    def __post_init__(self) -> None:
        names = [recipe.network for recipe in self.recipes]
        if self.home not in names:
            raise UserError(f"lr_from must be one of the widths that are compared ({', '.join(names)}): {self.home}")
        strange = [name for name in self.schedulers if not _is_aslr(name)]
        if strange:
            ours = ", ".join(name for name in SCHEDULERS.rows() if _is_aslr(name))
            raise UserError(f"with lr_from, schedulers are {ours} (the baseline is the recipe's), but got {strange}")
        if not self.schedulers or len(set(self.schedulers)) < len(self.schedulers):
            raise UserError(f"schedulers must be one or more, each once, but got {list(self.schedulers)}")
        for name, value in (("seeds", self.seeds), ("tune_seeds", self.tune_seeds)):
            if value < 1:
                raise UserError(f"{name} must be 1 or more, but got {value}")
        if self.tunes_lr and self.at_home.lr != AUTO:
            raise UserError(
                f"lr is {self.at_home.lr:g} already, so that tune_lr has none to find; leave one of the two out"
            )
        first = self.recipes[0].seed
        if set(range(first, first + self.seeds)) & set(self.tuning_seeds):
            raise UserError(f"seeds from {FIRST_SEED} on are the tuning's; choose --seed below, or fewer seeds")

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Seeds of the table's cells."""
        return tuple(range(self.at_home.seed, self.at_home.seed + self.seeds))

    @property
    def tuning_seeds(self) -> tuple[int, ...]:
        """Seeds that no cell of the table uses."""
        return tuple(range(FIRST_SEED, FIRST_SEED + self.tune_seeds))

    @property
    def family(self) -> str:
        """The network without its bits."""
        return str(parse_name(self.home).family)

    @property
    def at_home(self) -> Recipe:
        """The recipe of the home width."""
        return next(recipe for recipe in self.recipes if recipe.network == self.home)


def _is_aslr(scheduler: str) -> bool:
    return SCHEDULERS.get(scheduler).family == "aslr"


def parse_tuning_rates(text: str) -> tuple[float, ...]:
    """Read ``0.1,0.03,0.01``: the rates that the baseline is tuned over.

    Raises:
        UserError: an entry that is no number above 0, or one given twice.
    """
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    positive = all(0 < rate < float("inf") for rate in rates)
    if not rates or not positive or len(set(rates)) < len(rates):
        raise UserError(f"grid must be numbers above 0, comma-separated, each once, as in 0.1,0.03, but got {text!r}")
    return rates


def make_plan(
    recipes: Sequence[Recipe],
    lr_from: str,
    *,
    schedulers: Sequence[str],
    grid: str,
    tune_seeds: int,
    seeds: int,
    tunes_lr: bool = False,
) -> Plan:
    """Plan the experiment from what the command line is given.

    Args:
        recipes: one a bit width, of one family; their lr is ASLR's, or auto.
        lr_from: bits of the home width, as in ``8`` or ``1W4A``.
        schedulers: of ASLR's family; the recipe's baseline may be named too, it always runs.
        grid: rates to tune over, comma-separated, as ``--grid`` has them.
        tune_seeds: runs a rate.
        seeds: runs a cell.
        tunes_lr: whether ASLR's rate is tuned over the grid at the home width; their lr is auto then.

    Raises:
        UserError: several families, a width that is not among them, or values out of range.
    """
    families = list(dict.fromkeys(parse_name(recipe.network).family for recipe in recipes))
    widths, expression = split_bits(lr_from)
    if len(families) > 1:
        raise UserError(f"lr_from is for one network at several --bits, but got {', '.join(families)}")
    if len(widths) != 1 or expression:
        raise UserError(f"lr_from must be one bit width, as in 8 or 1W4A, but got {lr_from!r}")
    home = str(check_network(f"{families[0]}_{widths[0]}"))
    chosen = tuple(name for name in schedulers if name != recipes[0].baseline)
    return Plan(tuple(recipes), home, chosen, parse_tuning_rates(grid), tune_seeds, seeds, tunes_lr)

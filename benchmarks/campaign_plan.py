"""What the evidence campaign trains, in the order of running; decided before its first run.

CNV at width 0.25 on CIFAR-10, one validation split for all runs. ``SENSITIVITY`` asks on a subset how much each
scheduler's result depends on its first rate; ``FULL`` compares, on all images, one rate at every bit width with a
multi-step schedule that is tuned at each. A cell of the table that rests on numbers still to be found (ASLR's rate,
the tuned ones) appears once the runs that find them have ended.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SENSITIVITY, FULL, CHOICE = "sensitivity", "full", "choice"
BITS = (1, 2, 4, 8)
HOME = 8  # ASLR's rate is found here, and one baseline is tuned here alone
SEEDS = (0, 1, 2)
CHOICE_SEEDS = (10, 11, 12)  # a mend is chosen on these and judged on SEEDS
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
BEST_RATE = 0.03  # of RATES, for aslr_decay and for wsd, at 1 and at 8 bits: what seed 0 showed
GRID = (0.1, 0.05, 0.02, 0.01)  # of equals the first wins
AUTO = "auto"
CONTROL = "wsd"  # what the search itself is measured against
ONE_RATE = ("aslr", "aslr_decay", "aslr_capped", CONTROL)  # at ASLR's rate
FIND_RATES = ("aslr_decay", "aslr_capped")  # trained from the range test's rate too
# Added when the table had shown it behind at 8 bits, to tell a wrong first rate from a wrong search.
TUNED_ONCE = "aslr_capped"
RIVALS = ("cosine", "schedulefree", "aslr_average", "greedy")
RIVAL_BITS = (1, 4)

COMMON: dict[str, Any] = {
    "data": "cifar10",
    "width": 0.25,
    "batch_size": 100,
    "split_seed": 0,
    "milestones": "[0.5, 0.75, 0.9]",
    "gamma": 0.1,
}
LENGTHS: dict[str, dict[str, Any]] = {
    SENSITIVITY: {"epochs": 12, "train_size": 10000},
    CHOICE: {"epochs": 12, "train_size": 10000},
    FULL: {"epochs": 20},
}
# Without its warm-up, wsd is aslr_decay without the search.
OPTIONS = {"wsd": "{warmup: 0.0, decay: 0.2}"}


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        part: of the campaign, which decides length and images.
        scheduler: its name.
        bits: of weights and activations.
        lr: first rate, or auto: the range test finds it.
        seed: of weights, batches and draws.
    """

    part: str
    scheduler: str
    bits: int
    lr: float | str
    seed: int
    name: str = field(init=False)

    def __post_init__(self) -> None:
        rate = self.lr if isinstance(self.lr, str) else f"{self.lr:g}"
        name = f"{self.part}-{self.scheduler}-{self.bits}bit-lr{rate}-seed{self.seed}"
        object.__setattr__(self, "name", name)

    @property
    def arguments(self) -> list[str]:
        """Of ``qtrain train``, but for where the data and the run lie."""
        options = COMMON | LENGTHS[self.part] | {"scheduler": self.scheduler, "lr": self.lr, "seed": self.seed}
        if self.scheduler in OPTIONS:
            options["scheduler_options"] = OPTIONS[self.scheduler]
        network = f"CNV_{self.bits}W{self.bits}A"
        return [network, *(f"--{name}={value}" for name, value in options.items())]


# A finished run's records, by its name.
Found = Mapping[str, list[dict[str, Any]]]


def plan(found: Found) -> Iterator[Run]:
    """Yield every run that can be named so far, the most telling first; some of them twice."""
    for seed in SEEDS:
        for bits in (1, HOME):
            for scheduler in ("aslr_decay", "wsd", "multistep", "aslr", "aslr_capped"):
                yield from (Run(SENSITIVITY, scheduler, bits, lr, seed) for lr in RATES)
            yield from (Run(SENSITIVITY, scheduler, bits, AUTO, seed) for scheduler in FIND_RATES)
        if seed == SEEDS[0]:
            yield from _choice()
    yield RANGE_TEST
    lr = one_rate(found)
    yield from _at_one_rate(lr, (1, 4), SEEDS[:1])
    yield from (Run(FULL, "multistep", bits, lr, SEEDS[0]) for bits in (1, 4, HOME, 2) for lr in GRID)
    yield from _at_one_rate(lr, (HOME, 2), SEEDS[:1])
    yield from _at_one_rate(lr, (1, 4, HOME, 2), SEEDS[1:])
    for seed in SEEDS:
        for bits in (1, 4, HOME, 2):
            for rate in (tuned(found, bits), tuned(found, HOME)):
                if rate is not None:
                    yield Run(FULL, "multistep", bits, rate, seed)
    yield from (Run(FULL, TUNED_ONCE, HOME, rate, SEEDS[0]) for rate in GRID)
    rate = tuned(found, HOME, TUNED_ONCE)
    yield from _at_one_rate(rate, (HOME, 1, 4, 2), SEEDS, (TUNED_ONCE,))
    yield from _at_one_rate(rate, (HOME, 1, 4, 2), SEEDS, (CONTROL,))
    yield from _at_one_rate(lr, RIVAL_BITS, SEEDS, RIVALS)


def _choice() -> Iterator[Run]:
    """Yield what says whether a start that the range test finds is as good as the best of ``RATES``."""
    for seed in CHOICE_SEEDS:
        for bits in (1, HOME):
            yield from (Run(CHOICE, scheduler, bits, AUTO, seed) for scheduler in FIND_RATES)
            yield from (Run(CHOICE, scheduler, bits, BEST_RATE, seed) for scheduler in (*FIND_RATES, "wsd"))


def _at_one_rate(
    lr: float | None, widths: tuple[int, ...], seeds: tuple[int, ...], schedulers: tuple[str, ...] = ONE_RATE
) -> Iterator[Run]:
    """Yield nothing before the rate is known."""
    if lr is not None:
        yield from (Run(FULL, s, bits, lr, seed) for seed in seeds for bits in widths for s in schedulers)


RANGE_TEST = Run(FULL, "aslr", HOME, AUTO, SEEDS[0])


def one_rate(found: Found) -> float | None:
    """ASLR's rate at every width: what the range test found at 8 bits; None before it has ended."""
    records = found.get(RANGE_TEST.name)
    return None if records is None else float(records[0]["recipe"]["lr"])


def tuned(found: Found, bits: int, scheduler: str = "multistep") -> float | None:
    """A scheduler's best rate at a width, by validation accuracy; None before its grid has ended."""
    scores = {}
    for lr in GRID:
        records = found.get(Run(FULL, scheduler, bits, lr, SEEDS[0]).name)
        if records is None:
            return None
        scores[lr] = records[-1].get("validation_accuracy", -1.0)  # a run that diverged has none
    return max(GRID, key=lambda lr: scores[lr])

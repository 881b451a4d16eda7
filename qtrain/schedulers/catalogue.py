"""Every scheduler with all that is known of it, one row each; installed packages add theirs (``qtrain.plugins``).

Nothing here needs torch: a row names what makes the scheduler, and that is imported when a run begins.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from qtrain.errors import UserError
from qtrain.plugins import Registry

Kind = Literal["method", "rate_by_epoch", "rate_by_step"]
Family = Literal["aslr", "schedule", "line search", "rival"]
Dashes = str | tuple[int, tuple[int, ...]]
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p", "<", ">")  # as Matplotlib has them
DEFAULT = "aslr_capped"  # what a recipe trains with and a comparison judges where nothing else is said


@dataclass(frozen=True)
class Scheduler:
    """What there is to know of a scheduler.

    Attributes:
        make: what makes it, as ``module:name``. The keyword arguments with defaults are its options; who takes
            ``**options`` checks them itself.
        family: aslr; schedule, whose numbers are tuned by hand; line search; or rival, which chooses for itself.
        kind: what ``make`` is. A method is called with the model, the recipe, the steps of an epoch and the options,
            and returns a ``qtrain.training.methods.method.Method``. A rate_by_epoch or rate_by_step is called with the
            epoch (from 0), the run's epochs and the recipe's lr, and returns the learning rate: once an epoch, or
            before each step, where the epoch is a fraction.
        tuned: the numbers that a user has to choose, because no value suits every network. The optimizer's own
            (momentum, Adam's betas) and a schedule's conventions (one-cycle's shape) are not counted; L4's and Armijo's
            constants are, as the ASLR paper counts them.
        reads_milestones: whether the recipe's milestones and gamma are such numbers too.
        reads_lr: whether it starts from the recipe's lr.
        label: its name at the start of a sentence; by default the name itself.
        colour: of its curves, in hexadecimal.
        dashes: of its curves, as Matplotlib has them.
        marker: of its points, one of ``MARKERS``.
        averages: whether the weights that it judges are an average of its own, so that the recipe's ema makes no sense.

    Raises:
        UserError: a family, kind, colour or marker that there is not.
    """

    make: str
    family: Family
    kind: Kind = "method"
    tuned: tuple[str, ...] = ("lr0",)
    reads_milestones: bool = False
    reads_lr: bool = True
    label: str = ""
    colour: str = "#555555"
    dashes: Dashes = "--"
    marker: str = "o"
    averages: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (("family", self.family, Family), ("kind", self.kind, Kind)):
            if value not in get_args(allowed):
                raise UserError(f"{name} must be one of {', '.join(get_args(allowed))}, but got {value!r}")
        if not re.fullmatch("#[0-9A-Fa-f]{6}", self.colour):
            raise UserError(f"colour must be six hexadecimal digits as in #0072B2, but got {self.colour!r}")
        if self.marker not in MARKERS:
            raise UserError(f"marker must be one of {' '.join(MARKERS)}, but got {self.marker!r}")


_DASHED = "--"
_DASHDOT = "-."
_DOTTED = ":"
_DENSE: Dashes = (0, (4, 1))
_LONG: Dashes = (0, (9, 2))
_SHORT: Dashes = (0, (3, 1, 1, 1, 1, 1))
_L4 = ("alpha", "gamma", "gamma0", "tau", "eps")
_METHODS = "qtrain.training.methods"
_SCHEDULES = "qtrain.schedulers.schedules"

# Okabe and Ito's colours, which colour-blind readers can tell apart, for what the paper compares; the rivals share the
# hues in other shades. Dashes and markers tell them apart in a black and white print too: no two have both the same.
# fmt: off
_ROWS = {
    "aslr": Scheduler(
        f"{_METHODS}.adaptive:Adaptive.make", "aslr", label="ASLR", colour="#0072B2", dashes="-", marker="o",
    ),
    "aslr_decay": Scheduler(
        f"{_METHODS}.adaptive:Decaying.make", "aslr", colour="#5E0B4B", dashes=_LONG, marker="D",
    ),
    "aslr_capped": Scheduler(
        f"{_METHODS}.adaptive:Capped.make", "aslr", colour="#9048F0", dashes=_DENSE, marker="^",
    ),
    "aslr_smooth": Scheduler(
        f"{_METHODS}.adaptive:Smoothed.make", "aslr", colour="#56B4E9", dashes=_SHORT, marker="v",
    ),
    "aslr_average": Scheduler(
        f"{_METHODS}.adaptive:Averaging.make", "aslr", averages=True, colour="#00A3A3", dashes=_DASHDOT, marker="p",
    ),
    "multistep": Scheduler(
        f"{_METHODS}.scheduled:make_multistep", "schedule", reads_milestones=True,
        colour="#D55E00", dashes=_DASHED, marker="s",
    ),
    "cosine": Scheduler(
        f"{_SCHEDULES}:cosine", "schedule", "rate_by_epoch", ("lr0", "length"),
        colour="#009E73", dashes=_DASHDOT, marker="X",
    ),
    "cosine_restarts": Scheduler(
        f"{_SCHEDULES}:cosine_restarts", "schedule", "rate_by_step", ("lr0", "length"),
        colour="#66A61E", dashes=_SHORT, marker="<",
    ),
    "constant": Scheduler(
        f"{_SCHEDULES}:constant", "schedule", "rate_by_epoch", colour="#CC79A7", dashes=_DOTTED, marker=">",
    ),
    "wsd": Scheduler(
        f"{_SCHEDULES}:wsd", "schedule", "rate_by_step", ("lr0", "warm-up", "decay"),
        colour="#8C2800", dashes=_LONG, marker="P",
    ),
    "onecycle": Scheduler(
        f"{_SCHEDULES}:one_cycle", "schedule", "rate_by_step", ("peak", "length"),
        colour="#B8860B", dashes=_DASHED, marker="v",
    ),
    "plateau": Scheduler(
        f"{_METHODS}.scheduled:Plateau.make", "schedule", tuned=("lr0", "factor", "patience"),
        colour="#E377C2", dashes=_DASHDOT, marker="D",
    ),
    "greedy": Scheduler(
        f"{_METHODS}.scheduled:Greedy.make", "schedule", tuned=("lr0", "factor", "patience"),
        colour="#A0522D", dashes=_SHORT, marker="P",
    ),
    "l4mom": Scheduler(
        f"{_METHODS}.line_search:make_l4mom", "line search", tuned=_L4, reads_lr=False,
        colour="#E69F00", dashes=_DASHED, marker="<",
    ),
    "l4adam": Scheduler(
        f"{_METHODS}.line_search:make_l4adam", "line search", tuned=_L4, reads_lr=False,
        colour="#C49C00", dashes=_DOTTED, marker="D",
    ),
    "armijo": Scheduler(
        f"{_METHODS}.line_search:make_armijo", "line search", tuned=("c", "beta", "gamma", "first step"),
        reads_lr=False, colour="#7B3294", dashes=_SHORT, marker="s",
    ),
    "schedulefree": Scheduler(
        f"{_METHODS}.rivals:ScheduleFree.make", "rival", tuned=("lr",), averages=True,
        colour="#000000", dashes=_DASHDOT, marker="^",
    ),
    "prodigy": Scheduler(
        f"{_METHODS}.rivals:Prodigy.make", "rival", tuned=(), reads_lr=False,
        colour="#7F7F7F", dashes=_LONG, marker="o",
    ),
    "dadaptation": Scheduler(
        f"{_METHODS}.rivals:DAdaptation.make", "rival", tuned=(), reads_lr=False,
        colour="#9C8AA5", dashes=_DASHED, marker="P",
    ),
    "dog": Scheduler(
        f"{_METHODS}.rivals:DoG.make", "rival", tuned=(), reads_lr=False, averages=True,
        colour="#A6761D", dashes=_DOTTED, marker="X",
    ),
    "transition": Scheduler(
        f"{_METHODS}.transition:Transition.make", "rival", tuned=("target rate", "its step", "lr0"),
        colour="#B2182B", dashes=_LONG, marker="<",
    ),
}
# fmt: on

SCHEDULERS = Registry("scheduler", "qtrain.schedulers", Scheduler, _ROWS)
_UNKNOWN = Scheduler("", "rival")


@cache  # asked for every curve and cell of a report
def row_of(name: str) -> Scheduler:
    """Return what a report shows of a scheduler; a grey stand-in where its package is not installed here or broken."""
    return SCHEDULERS.find(name) or _UNKNOWN


def label_of(name: str) -> str:
    """A scheduler's name at the start of a sentence or in a head."""
    return row_of(name).label or name

"""Figures 3 and 4 of the ASLR paper, drawn from the ASLR class itself.

The paper's own drawings were not at hand (the reference repository has neither), so these are to our reading of its
Section IV: Figure 3 is the search for the centre (Algorithm 1), Figure 4 the draws around it (Equation 10). Each figure
has a function that makes its numbers and one that draws them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from qtrain.schedulers.aslr import ASLR, step_size

# Okabe and Ito's colours, which colour-blind readers can tell apart
UP = "#0072B2"
DOWN = "#D55E00"
BEST = "#009E73"
INK = "#444444"
LAYER_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
IMPROVING_THEN_PLATEAU = (0.40, 0.34, 0.30, *[0.32] * 21, 0.28, 0.29)
IMPROVING_THEN_WORSE = (0.40, 0.34, 0.36, 0.35, 0.36, 0.33, 0.30, 0.31, 0.32, 0.31)


@dataclass(frozen=True)
class Leg:
    """A run of the centre in one direction: ``centres`` starts where the leg before ended.

    Attributes:
        first: Index of the validation that ended just before the leg's first move.
        direction: +1 up, -1 down.
        centres: The centre before the leg and after each of its moves.
    """

    first: int
    direction: int
    centres: tuple[float, ...]


@dataclass(frozen=True)
class SearchTrace:
    """What Figure 3 shows: a cost for each validation, the centre after it, where the search was reset, the legs."""

    costs: tuple[float, ...]
    centres: tuple[float, ...]
    resets: tuple[int, ...]
    legs: tuple[Leg, ...]


@dataclass(frozen=True)
class DrawTrace:
    """What Figure 4 shows, one row a mini-batch: the draws (one a layer), the centre, the ends of the band."""

    draws: tuple[tuple[float, ...], ...]
    centres: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    batches_per_epoch: int


def search_data(costs: Sequence[float] = IMPROVING_THEN_PLATEAU, lr: float = 0.1) -> SearchTrace:
    """Feed ``costs`` to an ASLR and record its search.

    Args:
        costs: Validation costs, one an epoch.
        lr: Starting learning rate.
    """
    scheduler = ASLR(_optimizer(1, lr))
    centres: list[float] = []
    resets: list[int] = []
    legs: list[Leg] = []
    for i, cost in enumerate(costs):
        before = scheduler.search
        direction = before.direction
        leg_starts = before.steps == 0
        centre = scheduler.lr
        scheduler.draw()  # the epoch before the validation, in one step
        scheduler.step(cost)
        centres.append(scheduler.lr)
        if scheduler.lr == centre:
            resets.append(i)
        elif leg_starts:
            legs.append(Leg(i - 1, direction, (centre, scheduler.lr)))
        else:
            legs[-1] = Leg(legs[-1].first, direction, (*legs[-1].centres, scheduler.lr))
    return SearchTrace(tuple(costs), tuple(centres), tuple(resets), tuple(legs))


def draw_data(
    costs: Sequence[float] = IMPROVING_THEN_WORSE,
    lr: float = 0.1,
    layers: int = 3,
    batches_per_epoch: int = 24,
    seed: int = 0,
) -> DrawTrace:
    """Run optimizer steps under an ASLR and record what each layer's learning rate was.

    Args:
        costs: Validation costs, one at the end of each epoch.
        lr: Starting learning rate.
        layers: Parameter groups.
        batches_per_epoch: Optimizer steps before each validation.
        seed: Seed of the draws.
    """
    optimizer = _optimizer(layers, lr)
    scheduler = ASLR(optimizer, seed=seed)
    draws: list[tuple[float, ...]] = []
    centres: list[float] = []
    widths: list[float] = []
    for cost in costs:
        for _ in range(batches_per_epoch):
            optimizer.step()
            draws.append(tuple(group["lr"] for group in optimizer.param_groups))
            centres.append(scheduler.lr)
            widths.append(float(step_size(scheduler.search.lr)))
        scheduler.step(cost)
    low = tuple(c - s / 2 for c, s in zip(centres, widths, strict=True))
    high = tuple(c + s / 2 for c, s in zip(centres, widths, strict=True))
    return DrawTrace(tuple(draws), tuple(centres), low, high, batches_per_epoch)


def figure_3(trace: SearchTrace | None = None) -> Figure:
    """Draw the search: the validation error above, below the centre with its growing legs on the decimal grid.

    Args:
        trace: What to draw; ``search_data()`` where None.
    """
    trace = trace or search_data()
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 3])
    epochs = range(len(trace.costs))
    above.plot(epochs, trace.costs, color=INK, lw=1, marker="o", ms=3.5)
    above.plot(
        trace.resets, [trace.costs[i] for i in trace.resets], "o", color=BEST, ms=6, label="new best: search reset"
    )
    above.set_ylabel("validation\nerror")
    above.legend(loc="upper right", frameon=False, fontsize=9)
    _draw_legs(below, trace)
    below.set_xlabel("validation (epoch)")
    below.set_ylabel("centre $c$ of the learning rate")
    _decimal_ticks(below, trace.centres)
    _plain(above)
    _plain(below)
    figure.suptitle(
        "ASLR on a plateau: legs of +1, -2, +3, -4, ... grid steps, finer below a power of ten", fontsize=11
    )
    return figure


def figure_4(trace: DrawTrace | None = None) -> Figure:
    """Draw every layer's learning rate at every mini-batch inside the band [c - s/2, c + s/2].

    Args:
        trace: What to draw; ``draw_data()`` where None.
    """
    trace = trace or draw_data()
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    epochs = [i / trace.batches_per_epoch for i in range(len(trace.centres) + 1)]
    low = _held(trace.low)
    high = _held(trace.high)
    centres = _held(trace.centres)
    axes.fill_between(epochs, low, high, step="post", color="#DDE6EE", lw=0, label="$[c - s/2,\\ c + s/2]$")
    axes.step(epochs, centres, where="post", color=INK, lw=1.4, label="centre $c$")
    for layer, draws in enumerate(zip(*trace.draws, strict=True)):
        colour = LAYER_COLOURS[layer % len(LAYER_COLOURS)]
        axes.plot(epochs[:-1], draws, "o", ms=2.6, color=colour, mew=0, alpha=0.85, label=f"layer {layer + 1}")
    axes.set_xlim(0, epochs[-1])
    axes.set_ylim(0, None)
    axes.set_xlabel("epoch (one dot a mini-batch and layer)")
    axes.set_ylabel("learning rate")
    axes.legend(loc="upper right", frameon=False, fontsize=9, markerscale=2)
    _plain(axes)
    figure.suptitle("ASLR's draws: a learning rate of its own for each layer and mini-batch", fontsize=11)
    return figure


def _held(values: Sequence[float]) -> list[float]:
    """Return the values with the last one once more, where the last step of a stair ends."""
    return [*values, values[-1]]


def _optimizer(groups: int, lr: float) -> torch.optim.SGD:
    """Return an optimizer of so many groups with one parameter each."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(groups)]
    return torch.optim.SGD([{"params": [parameter]} for parameter in parameters], lr=lr)


def _draw_legs(axes: Axes, trace: SearchTrace) -> None:
    axes.plot(range(len(trace.centres)), trace.centres, color="#BBBBBB", lw=1, zorder=1)
    for leg in trace.legs:
        _draw_leg(axes, leg)
    axes.plot(trace.resets, [trace.centres[i] for i in trace.resets], "o", color=BEST, ms=6, zorder=4)


def _draw_leg(axes: Axes, leg: Leg) -> None:
    """Draw a leg with its moves as dots and their number at its end, above where it goes up, below where down."""
    moves = len(leg.centres) - 1
    last = leg.first + moves
    colour = UP if leg.direction > 0 else DOWN
    sign = "+" if leg.direction > 0 else "-"
    away = 9 if leg.direction > 0 else -16
    axes.plot(range(leg.first, last + 1), leg.centres, color=colour, lw=2, zorder=2)
    axes.plot(range(leg.first + 1, last + 1), leg.centres[1:], "o", color=colour, ms=4.5, zorder=3)
    axes.annotate(
        f"{sign}{moves}",
        (last, leg.centres[-1]),
        xytext=(0, away),
        textcoords="offset points",
        ha="center",
        color=colour,
        fontweight="bold",
    )


def _decimal_ticks(axes: Axes, centres: Sequence[float]) -> None:
    """Label every number of one digit between the centres, on a logarithmic axis."""
    axes.set_yscale("log")
    low = min(centres) * 0.8
    high = max(centres) * 1.35
    axes.set_ylim(low, high)
    ticks = []
    for exponent in range(-12, 4):
        ticks += [digit * 10.0**exponent for digit in range(1, 10)]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def _plain(axes: Axes) -> None:
    axes.grid(True, axis="y", color="#E6E6E6", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)

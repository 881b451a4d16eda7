"""What ``qtrain fit`` is asked for: a network, a board, a frame rate, limits, hours; and whether that makes sense."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.sensitivity.structure import WIDEST, widest_name
from qtrain.experiments.sweep.axes import check_axis
from qtrain.experiments.sweep.limits import Limits, limits_of
from qtrain.experiments.sweep.planned_cell import Target
from qtrain.export import check_target, get_board
from qtrain.export.compiler.boards import Board
from qtrain.models import check_network, parse_name
from qtrain.models.bits import check_bits
from qtrain.models.own import find_own
from qtrain.recipe import Recipe, recipe_from_dict
from qtrain.records.fit import FitFile

DEFAULT_WIDTHS = (1, 2, 3, 4, 6, 8)
AT_ONCE = 3


@dataclass(frozen=True)
class FitPlan:
    """A whole fit.

    Attributes:
        recipe: of the run at the widest bits.
        target: board, frames a second and clock.
        limits: the most of LUT, BRAM_18K, URAM and DSP that may be used.
        run: folder of a run at the widest bits; None to train it.
        min_accuracy: on validation images, in percent.
        hours: wall time for all of it.
        rounds: the most rounds of candidates; None for as many as there is time for.
        at_once: candidates of a round.
        widths: bits that a quantizer may have, the widest among them.
        candidate_epochs: that a candidate trains.
        command: that asked, for the record.

    Raises:
        UserError: something that does not make sense, or contradicts something else.
    """

    recipe: Recipe
    target: Target
    limits: Mapping[str, float]
    run: str | None = None
    min_accuracy: float | None = None
    hours: float = 2.0
    rounds: int | None = None
    at_once: int = AT_ONCE
    widths: tuple[int, ...] = DEFAULT_WIDTHS
    candidate_epochs: int = 1
    command: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_target(self.target.board, self.target.fps, self.target.clock_ns)
        name = check_network(self.recipe.network)
        if (name.weight_bits, name.act_bits) != (WIDEST, WIDEST):
            raise UserError(f"fit begins at {WIDEST} bits, but {name} has others; name the family, {name.family}")
        if name.is_own and not find_own(name).takes_pair:
            raise UserError(
                f"fit gives single layers other bits, and {name.family} takes none: give it arguments weight_bits and "
                "act_bits"
            )
        check_axis("widths", self.widths, "1,2,4,8")
        for bits in self.widths:
            check_bits("widths", bits)
        if WIDEST not in self.widths or len(self.widths) < 2:
            shown = ",".join(map(str, self.widths))
            raise UserError(f"widths must be two or more with {WIDEST} among them, as 2,4,8, but got {shown}")
        if not (isfinite(self.hours) and self.hours > 0):
            raise UserError(f"hours must be above 0, but got {self.hours:g}")
        if self.min_accuracy is not None and not 0 <= self.min_accuracy <= 100:
            raise UserError(f"min_accuracy must be from 0 to 100 %, but got {self.min_accuracy:g}")
        for what, number in (
            ("rounds", self.rounds),
            ("at_once", self.at_once),
            ("candidate_epochs", self.candidate_epochs),
        ):
            if number is not None and number < 1:
                raise UserError(f"{what} must be 1 or more, but got {number}")

    @property
    def family(self) -> str:
        """The family of all networks."""
        return parse_name(self.recipe.network).family

    @property
    def board(self) -> Board:
        """The board to fit."""
        return get_board(self.target.board)

    @property
    def cycles(self) -> float:
        """The most clock cycles that a layer may take for a frame."""
        return 1e9 / self.target.clock_ns / self.target.fps * (1 + 1e-9)

    def fits(self, used: Mapping[str, float], fps: float) -> bool:
        """Whether a network keeps within all limits on hardware."""
        return not self.misses(used, fps)

    def misses(self, used: Mapping[str, float], fps: float) -> list[str]:
        """What of a network's hardware is beyond a limit, in numbers."""
        return Limits(self.limits, self.target.fps).misses(used, fps)

    def to_file(self) -> FitFile:
        """Return what ``fit.json`` holds of the plan."""
        return FitFile(
            recipe=self.recipe.to_dict(),
            run=self.run,
            board=self.target.board,
            min_fps=self.target.fps,
            clock_ns=self.target.clock_ns,
            limits=self.limits,
            min_accuracy=self.min_accuracy,
            hours=self.hours,
            rounds=self.rounds,
            at_once=self.at_once,
            widths=self.widths,
            candidate_epochs=self.candidate_epochs,
            command=self.command,
        )


def read_plan(out: Path) -> FitPlan:
    """Read the plan of the fit in ``out``.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if not FitFile.is_in(out):
        raise UserError(f"{out} is no fit (no {FitFile.FILE}); name a folder that qtrain fit wrote")
    found = FitFile.read(out)
    recipe = recipe_from_dict(dict(found.recipe), str(out / FitFile.FILE))
    try:
        return FitPlan(
            recipe,
            Target(found.board, found.min_fps, found.clock_ns),
            limits=dict(found.limits),
            run=found.run,
            min_accuracy=found.min_accuracy,
            hours=found.hours,
            rounds=found.rounds,
            at_once=found.at_once,
            widths=found.widths,
            candidate_epochs=found.candidate_epochs,
            command=found.command,
        )
    except UserError as error:
        raise FitFile.source(out).damaged(str(error)) from None


def plan_fit(
    recipe: Recipe,
    board: str,
    min_fps: int,
    *,
    limits: Mapping[str, str | None] | None = None,
    run: str | None = None,
    clock_ns: float = 10.0,
    min_accuracy: float | None = None,
    hours: float = 2.0,
    rounds: int | None = None,
    at_once: int = AT_ONCE,
    widths: tuple[int, ...] = DEFAULT_WIDTHS,
    candidate_epochs: int | None = None,
    command: str = "",
) -> FitPlan:
    """Plan a fit.

    Args:
        recipe: of the network, at any bits; that of ``run`` where one is given.
        board: FINN's name, or a part as ``get_board`` takes it.
        min_fps: frames a second that the network must reach.
        limits: by option of ``RESOURCES``, as ``70%`` or ``30000``.
        run: folder of a run at the widest bits; None to train it.
        clock_ns: clock period in nanoseconds.
        min_accuracy: on validation images, in percent.
        hours: wall time for all of it.
        rounds: the most rounds of candidates.
        at_once: candidates of a round.
        widths: bits that a quantizer may have.
        candidate_epochs: that a candidate trains; by default the recipe's.
        command: that asked, for the record.

    Raises:
        UserError: something that does not make sense, or contradicts something else.
    """
    if min_fps < 1:
        raise UserError(f"min_fps must be 1 frame a second or more, but got {min_fps}")
    check_target(board, min_fps, clock_ns)
    family = parse_name(recipe.network).family
    wide = recipe if run is not None else recipe.replace(network=widest_name(family))
    if wide.bits:
        raise UserError(f"fit chooses the bits of each layer by itself; leave out bits {wide.bits}")
    return FitPlan(
        wide,
        Target(board, min_fps, clock_ns),
        limits=limits_of(get_board(board), limits or {}),
        run=run,
        min_accuracy=min_accuracy,
        hours=hours,
        rounds=rounds,
        at_once=at_once,
        widths=tuple(sorted(widths)),
        candidate_epochs=recipe.epochs if candidate_epochs is None else candidate_epochs,
        command=command,
    )


def nearest(found: list[tuple[str, Mapping[str, Any], float]], plan: FitPlan) -> str:
    """Return of several networks what the nearest to the limits misses, in numbers.

    Args:
        found: name, resources used and frames a second of each.
        plan: with the limits.
    """

    def beyond(one: tuple[str, Mapping[str, Any], float]) -> float:
        _, used, fps = one
        shares = [used[kind] / most if most else (inf if used[kind] else 0.0) for kind, most in plan.limits.items()]
        return max(*shares, plan.target.fps / max(fps, 1e-9))

    name, used, fps = min(found, key=beyond)
    return f"{name} needs {' and '.join(plan.misses(used, fps))}"

"""What a sweep trains: every weight x activation width, expression and seed, from scratch and from its wider parent."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.sweep.axes import axes_of, check_axis
from qtrain.experiments.sweep.planned_cell import SCRATCH, WARM, PlannedCell, Target, cell_name
from qtrain.experiments.sweep.search_plan import SearchPlan
from qtrain.export import check_target
from qtrain.models import check_network, parse_name
from qtrain.models.bits import check_bits, parse_bits
from qtrain.models.own import find_own
from qtrain.recipe import Recipe, default_recipe

CELLS = "cells"


@dataclass(frozen=True)
class SweepPlan:
    """A whole sweep.

    Attributes:
        recipe: of all cells; its network has the widest bits, its seed is the first, its bits are empty.
        weight_bits: the axis of weight widths, in the order given.
        act_bits: the axis of activation widths.
        diagonal: weights and activations have the same width in every cell.
        expressions: the axis of expressions for single layers; "" for none.
        seeds: of the recipes.
        warm_from: the width that warm-started cells descend from; None for no such cells.
        board: FINN's name of the board to export and estimate for; None trains, lints and counts alone.
        target_fps: frames a second to fold for.
        clock_ns: clock period in nanoseconds.
        command: that began the sweep, for the record.
        search: for per-layer bits; None for none.
        trials: that it has planned so far.
    """

    recipe: Recipe
    weight_bits: tuple[int, ...]
    act_bits: tuple[int, ...]
    diagonal: bool
    expressions: tuple[str, ...]
    seeds: tuple[int, ...]
    warm_from: int | None = None
    board: str | None = None
    target_fps: int = 1000
    clock_ns: float = 10.0
    command: str = field(default="", compare=False)
    search: SearchPlan | None = None
    trials: tuple[PlannedCell, ...] = ()

    def __post_init__(self) -> None:
        for name, axis in (("weight_bits", self.weight_bits), ("act_bits", self.act_bits)):
            for bits in axis:
                check_bits(f"{name} of a sweep", bits)
            check_axis(name, axis, "1,2,4,8")
        check_axis("bits", self.expressions, "first=8,last=8;none")
        for expression in self.expressions:
            parse_bits(expression)
        check_axis("seeds", self.seeds, "3")
        for network in self.networks:
            check_network(network)
        if self.warm_from is not None:
            self._check_warm(self.warm_from)
        if self.board is not None:
            check_target(self.board, self.target_fps, self.clock_ns)
        if self.search is not None:
            self._check_search(self.search)
        self._check_names()

    def _check_names(self) -> None:
        counts = Counter(cell.name for cell in self.cells())
        for name, count in counts.items():
            if count > 1:
                raise UserError(f"two expressions of --bits give the same folder {name}; write one of them otherwise")

    def _check_warm(self, start: int) -> None:
        for name, axis in (("weight_bits", self.weight_bits), ("act_bits", self.act_bits)):
            if start != max(axis):
                raise UserError(
                    f"warm starts descend from the widest cell: from must be the highest of {name} "
                    f"({','.join(map(str, axis))}), which is {max(axis)}, but got {start}"
                )
        if self.recipe.init_from is not None:
            raise UserError("from starts cells from their wider parents, init_from all from one run; give one of them")

    def _check_search(self, search: SearchPlan) -> None:
        if len(self.pairs) * len(self.expressions) < 2:
            raise UserError("a search needs two widths or more to choose from, such as --weight-bits 1,2,4,8")
        name = parse_name(self.recipe.network)
        if name.is_own and not find_own(name).takes_pair:
            raise UserError(
                f"a search gives single layers other bits, and {name.family} takes none: give it arguments weight_bits "
                "and act_bits"
            )
        if search.cost == "lut" and self.board is None:
            raise UserError("search_cost lut is FINN's estimate for a board; name one with --board, or take bops")

    @property
    def family(self) -> str:
        """The family of all networks."""
        return parse_name(self.recipe.network).family

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Weight and activation bits of all networks."""
        if self.diagonal:
            return [(bits, bits) for bits in self.weight_bits]
        return list(itertools.product(self.weight_bits, self.act_bits))

    @property
    def networks(self) -> list[str]:
        """The full names of all networks."""
        return [f"{self.family}_{weights}W{acts}A" for weights, acts in self.pairs]

    @property
    def target(self) -> Target | None:
        """What FINN builds for."""
        return None if self.board is None else Target(self.board, self.target_fps, self.clock_ns)

    def parent(self, pair: tuple[int, int]) -> tuple[int, int] | None:
        """Return the next higher width of each axis, where there is one; None for the widest cell."""
        weights, acts = pair
        above = (_above(self.weight_bits, weights), _above(self.act_bits, acts))
        return None if above == pair else above

    def depth(self, pair: tuple[int, int]) -> int:
        """Return how many ancestors a warm cell of these widths has."""
        parent = self.parent(pair)
        return 0 if parent is None else 1 + self.depth(parent)

    def cells(self) -> list[PlannedCell]:
        """Return all cells: each seed's widths and expressions, warm cells beside their twins; then the trials."""
        cells: list[PlannedCell] = []
        for seed, expression, pair in itertools.product(self.seeds, self.expressions, self.pairs):
            cells += self._twins(pair, expression, seed)
        return [*cells, *self.trials]

    def _twins(self, pair: tuple[int, int], bits: str, seed: int) -> list[PlannedCell]:
        """Plan the cell from scratch, and with ``warm_from`` the warm one; both have trained as long in the end."""
        parent = self.parent(pair) if self.warm_from is not None else None
        depth = self.depth(pair) if parent is not None else 0
        total = (depth + 1) * self.recipe.epochs
        weights, acts = pair
        scratch = PlannedCell(
            name=cell_name(self.family, pair, bits, seed, SCRATCH),
            network=f"{self.family}_{weights}W{acts}A",
            weight_bits=weights,
            act_bits=acts,
            bits=bits,
            seed=seed,
            start=SCRATCH if self.recipe.init_from is None else WARM,
            parent=None,
            epochs=total,
            total_epochs=total,
            depth=0,
        )
        if parent is None:
            return [scratch]
        parent_start = SCRATCH if self.parent(parent) is None else WARM
        warm = replace(
            scratch,
            name=cell_name(self.family, pair, bits, seed, WARM),
            start=WARM,
            parent=cell_name(self.family, parent, bits, seed, parent_start),
            epochs=self.recipe.epochs,
            depth=depth,
        )
        return [scratch, warm]

    def recipe_of(self, cell: PlannedCell, out: Path) -> Recipe:
        """Return the recipe of a cell; a warm one starts from its parent's folder in ``out``."""
        start = self.recipe.init_from
        if cell.parent is not None:
            start = str((out / CELLS / cell.parent).resolve())
        return self.recipe.replace(
            network=cell.network, bits=cell.bits, seed=cell.seed, epochs=cell.epochs, init_from=start
        )


def plan_sweep(
    network: str,
    recipe: Recipe | None = None,
    *,
    weight_bits: Sequence[int] = (),
    act_bits: Sequence[int] = (),
    expressions: Sequence[str] = (),
    seeds: int = 1,
    warm_from: int | None = None,
    board: str | None = None,
    target_fps: int = 1000,
    clock_ns: float = 10.0,
    command: str = "",
    search: SearchPlan | None = None,
    **fields: Any,
) -> SweepPlan:
    """Plan a sweep.

    Args:
        network: a family such as CNV; or, without axes of widths, one network such as CNV_1W2A.
        recipe: of all cells; by default the family's shipped one for ``data``.
        weight_bits: widths of the weights.
        act_bits: widths of the activations; without any they are the weights' own in every cell.
        expressions: for single layers, an axis too, as in ``("", "first=8,last=8")``; default the recipe's ``bits``.
        seeds: how many, counted from the recipe's.
        warm_from: the highest width of both axes, from which warm-started cells descend; None for no such cells.
        board: FINN's name of the board to export and estimate for; None trains, lints and counts alone.
        target_fps: frames a second to fold for.
        clock_ns: clock period in nanoseconds.
        command: that began the sweep, for the record.
        search: for per-layer bits beyond the axes, of ``search_plan.plan_search``.
        fields: of the recipe that are not to be its own, as in ``data="digits", epochs=2``.

    Raises:
        UserError: an unknown family, a width outside 1 to 8, an axis that is empty or has a value twice, ...
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise UserError(f"seeds must be 1 or more, but got {seeds}")
    family, weights, acts = axes_of(network, tuple(weight_bits), tuple(act_bits))
    widest = f"{family}_{max(weights)}W{max(acts)}A"
    if recipe is None:
        recipe = default_recipe(widest, fields.get("data", Recipe("").data))
    recipe = recipe.replace(**{"network": widest, **fields})
    return SweepPlan(
        recipe=recipe.replace(bits=""),
        weight_bits=weights,
        act_bits=acts,
        diagonal=not act_bits and len(weights) > 0 and weights == acts,
        expressions=tuple(expressions) or (recipe.bits,),
        seeds=tuple(range(recipe.seed, recipe.seed + seeds)),
        warm_from=warm_from,
        board=board,
        target_fps=target_fps,
        clock_ns=clock_ns,
        command=command,
        search=search,
    )


def _above(axis: Sequence[int], bits: int) -> int:
    """Return the next higher width of an axis; of the highest itself."""
    return min((wider for wider in axis if wider > bits), default=bits)

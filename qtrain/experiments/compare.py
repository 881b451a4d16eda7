"""Schedulers against each other: the same recipe and seeds, only the schedule differs."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtrain.errors import UserError
from qtrain.experiments.run import export_run, resume_run, train_recipe
from qtrain.export import verify
from qtrain.recipe import Recipe
from qtrain.training import Watcher
from qtrain.training.folder import check_run

BASELINE = "multistep"
CHALLENGER = "aslr"
FORMAT = 1
COMPARISON = "comparison.json"
FINN = "finn"


@dataclass(frozen=True)
class Cell:
    """One run of a comparison: test accuracy in percent, folder of its records."""

    scheduler: str
    seed: int
    folder: Path
    test_accuracy: float


@dataclass(frozen=True)
class Comparison:
    """All runs of a comparison, paired by seed.

    Attributes:
        recipe: shared by all runs; its scheduler and seed are those of the first.
        cells: every run.
        tolerance: points that ASLR may fall short by.
    """

    recipe: Recipe
    cells: tuple[Cell, ...]
    tolerance: float

    def accuracies(self, scheduler: str) -> list[float]:
        """Test accuracies of a scheduler in percent, by seed."""
        return [cell.test_accuracy for cell in sorted(self.cells, key=lambda c: c.seed) if cell.scheduler == scheduler]

    def differences(self, baseline: str) -> list[float]:
        """ASLR minus ``baseline`` in points, seed by seed."""
        pairs = zip(self.accuracies(CHALLENGER), self.accuracies(baseline), strict=True)
        return [ours - theirs for ours, theirs in pairs]

    @property
    def schedulers(self) -> list[str]:
        """In the order they were given."""
        return list(dict.fromkeys(cell.scheduler for cell in self.cells))

    @property
    def shortfalls(self) -> dict[str, float]:
        """Baselines that ASLR is behind by more than the tolerance, with the mean difference in points."""
        baselines = [s for s in self.schedulers if s != CHALLENGER]
        means = {s: statistics.mean(self.differences(s)) for s in baselines}
        return {s: mean for s, mean in means.items() if mean < -self.tolerance}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as written to ``comparison.json``; folders relative to it."""
        baselines = [s for s in self.schedulers if s != CHALLENGER]
        return {
            "format": FORMAT,
            "recipe": self.recipe.to_dict(),
            "schedulers": self.schedulers,
            "tolerance": self.tolerance,
            "cells": [
                {
                    "scheduler": cell.scheduler,
                    "seed": cell.seed,
                    "folder": cell.folder.name,
                    "test_accuracy": cell.test_accuracy,
                }
                for cell in self.cells
            ],
            "differences": {s: self.differences(s) for s in baselines},
            "shortfalls": self.shortfalls,
        }


def check_schedulers(schedulers: Sequence[str]) -> None:
    """See that ASLR is there with something to compare it with, each once.

    Raises:
        UserError: it is not.
    """
    if CHALLENGER not in schedulers or len(schedulers) < 2 or len(set(schedulers)) < len(schedulers):
        raise UserError(
            f"schedulers must be {CHALLENGER} and at least one other, each once, but got {list(schedulers)}"
        )


def compare(
    recipe: Recipe,
    out: Path,
    *,
    schedulers: Sequence[str] = (CHALLENGER, BASELINE),
    seeds: int = 3,
    tolerance: float = 0.5,
    data_root: str | Path | None = None,
    device: str = "auto",
    watch: Watcher | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Train ``recipe`` with every scheduler and seeds ``recipe.seed, recipe.seed + 1, ...``; nothing else changes.

    Finished runs in ``out`` are read, not trained again; an unfinished one continues from its checkpoint.

    Args:
        recipe: shared by all runs.
        out: new folder, or that of the same comparison.
        schedulers: aslr and others.
        seeds: runs a scheduler.
        tolerance: points that ASLR may fall short by.
        data_root: where to look for the data.
        device: auto, cpu, cuda or cuda:N.
        watch: told where each run is.
        say: told of each run's result.

    Raises:
        UserError: schedulers, seeds or tolerance out of range, or ``out`` holds runs of another recipe.
    """
    check_schedulers(schedulers)
    if seeds < 1:
        raise UserError(f"seeds must be 1 or more, but got {seeds}")
    if not tolerance >= 0:
        raise UserError(f"tolerance must be 0 points or more, but got {tolerance}")
    recipes = [recipe.replace(scheduler=s, seed=recipe.seed + i) for i in range(seeds) for s in schedulers]
    folders = [out / f"{r.scheduler}-seed{r.seed}" for r in recipes]
    if out.is_dir() and any(out.iterdir()) and not any(path.exists() for path in (out / COMPARISON, *folders)):
        raise UserError(f"{out} holds other things already and nothing is overwritten; name a new or empty folder")
    for cell, folder in zip(recipes, folders, strict=True):
        if folder.exists():
            check_run(folder, cell, "name a new folder with --out")
    cells = []
    for cell, folder in zip(recipes, folders, strict=True):
        if folder.exists():
            result = resume_run(folder, data_root=data_root, device=device, watch=watch)
        else:
            result = train_recipe(cell, folder, data_root=data_root, device=device, watch=watch)
        cells.append(Cell(cell.scheduler, cell.seed, folder, result.test_accuracy))
        say(f"{cell.scheduler} seed {cell.seed}: test accuracy {result.test_accuracy:.2f} %")
    comparison = Comparison(recipe, tuple(cells), tolerance)
    partial = out / f".{COMPARISON}.partial"
    partial.write_text(json.dumps(comparison.to_dict(), indent=2) + "\n")
    partial.replace(out / COMPARISON)
    return comparison


def export_cells(
    comparison: Comparison,
    *,
    board: str,
    target_fps: int,
    clock_ns: float,
    data_root: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Export each scheduler's first run to ``finn`` in its folder, proven; one that is there already is proven again.

    Raises:
        ProofError: a graph differs from torch.
    """
    for scheduler in comparison.schedulers:
        cell = next(c for c in comparison.cells if c.scheduler == scheduler)
        out = cell.folder / FINN
        say(f"{scheduler} seed {cell.seed}: {out}")
        if out.exists():
            verify(out, say=say)
        else:
            export_run(
                cell.folder, out, board=board, target_fps=target_fps, clock_ns=clock_ns, data_root=data_root, say=say
            )

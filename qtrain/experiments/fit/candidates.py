"""Candidates: trained from the widest network's weights, proven, exported, and put before the compiler."""

import shlex
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtrain.engines.task import Died, Engine
from qtrain.experiments.export import export_run
from qtrain.experiments.fit.choose import Choice, Solver
from qtrain.experiments.fit.folded import by_finn, by_solver
from qtrain.experiments.fit.plan import FitPlan
from qtrain.experiments.fit.state import State
from qtrain.experiments.run_cells import shown
from qtrain.experiments.same_data import digests_for
from qtrain.experiments.sensitivity.structure import WIDEST, Structure
from qtrain.experiments.status import CellsStatus
from qtrain.experiments.sweep.cell import SweepCell
from qtrain.experiments.sweep.command import REBUILT, recipe_flags
from qtrain.experiments.sweep.deploy import FINN, Deployment, Refused
from qtrain.experiments.sweep.plan import CELLS
from qtrain.experiments.sweep.planned_cell import SEARCH, PlannedCell
from qtrain.experiments.sweep.row import ended_cell, failed_row, outcome
from qtrain.experiments.view import CellsView
from qtrain.export import ProofError
from qtrain.recipe import Recipe
from qtrain.records.fit import Candidate, CompiledNetwork
from qtrain.training.context import RunContext
from qtrain.training.folder import last_result

BASE_NAME = "base"
Row = dict[str, Any]


def from_choice(choice: Choice, number: int, place: int) -> Candidate:
    """Return a candidate that the solver chose in a round, the so manieth of it."""
    return Candidate(
        name=f"round{number}-{place}",
        round=number,
        bits=choice.bits,
        folding={path: list(found) for path, found in choice.folding.items()},
        predicted={**choice.predicted, "change": choice.change, "proven": choice.proven},
        bound=choice.bound,
    )


class Candidates:
    """Brings candidates to their ends.

    Args:
        plan: of the fit.
        out: its folder.
        run: folder of the run at the widest bits.
        structure: of the network.
        context: where the data lie, which device, and what stops it.
        engine: where candidates are trained.
        view: shows where they are.
        state: of the fit.
    """

    def __init__(
        self,
        plan: FitPlan,
        out: Path,
        run: Path,
        structure: Structure,
        context: RunContext,
        engine: Engine,
        view: CellsView,
        state: State,
    ):
        self._plan = plan
        self._out = out
        self._run = run
        self._structure = structure
        self._context = context
        self._engine = engine
        self._view = view
        self._state = state

    def folder(self, name: str) -> Path:
        """Return the folder of a candidate."""
        return (self._out / CELLS / name).resolve()

    def compiled(self) -> list[CompiledNetwork]:
        """Return what the compiler said of the candidates that have ended."""
        done = [candidate for candidate in self._state.candidates if candidate.state == "done"]
        return [network for candidate in done for network in self._compiled(candidate)]

    def with_base(self, solver: Solver) -> list[CompiledNetwork]:
        """Take the network at the widest bits for a candidate, where it keeps within the limits by the model.

        Returns:
            What the compiler says of it; nothing where it is no candidate.
        """
        choice = solver.fold(self._structure.widest())
        result = last_result(self._run)
        if choice is None or result is None:
            return []
        folder = self.folder(BASE_NAME)
        target = self._plan.target
        candidate = replace(from_choice(choice, 0, 0), name=BASE_NAME, state="done", seconds=0.0)
        where: dict[str, Any] = {"board": target.board, "target_fps": target.fps, "clock_ns": target.clock_ns}
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if not (folder / FINN).is_dir():
                export_run(self._run, folder / FINN, **where, context=RunContext(self._context.data_root))
            Deployment(folder, self._context.data_root).estimate(target)
        except (Refused, ProofError) as error:
            self._state.put(replace(candidate, state="failed", error=str(error)))
            return []
        candidate = replace(
            candidate, validation_accuracy=result.validation_accuracy, test_accuracy=result.test_accuracy
        )
        self._state.put(self._judged(candidate))
        return self._compiled(candidate)

    def run(self, candidates: Sequence[Candidate]) -> list[CompiledNetwork]:
        """Train candidates, export them with their proofs, and ask the compiler; the state says what came of each.

        Returns:
            What the compiler said.

        Raises:
            Interrupted: ``context.stop`` said so; the same call goes on.
        """
        by_name = {candidate.name: candidate for candidate in candidates}
        tasks = self._tasks(candidates)
        status = CellsStatus(self._out, {task.name: task.recipe.epochs for task in tasks})

        def told(name: str, event: dict[str, Any]) -> None:
            status.told(name, event)
            self._view.event()

        found: list[CompiledNetwork] = []
        with status, shown(self._view, status):
            ends = self._engine(tasks, stop=self._context.stop, told=told)
            try:
                for task, row in ends:
                    if isinstance(row, Died):
                        row = failed_row(task.cell, "", status.stage_of(task.name), row.reason)  # type: ignore[attr-defined]
                    status.ended(ended_cell(row))
                    self._view.ended(task.name, outcome(row))
                    candidate = self._ended(by_name[task.name], row)
                    self._state.put(candidate)
                    if candidate.state == "done":
                        found += self._compiled(candidate)
            finally:
                if isinstance(ends, Generator):
                    ends.close()  # what still runs is saved
        return found

    def recipe_of(self, candidate: Candidate) -> Recipe:
        """Return the recipe of a candidate's run."""
        return self._plan.recipe.replace(
            bits=self._structure.expression(candidate.bits),
            epochs=self._plan.candidate_epochs,
            init_from=str(self._run.resolve()),
        )

    def _tasks(self, candidates: Sequence[Candidate]) -> list[SweepCell]:
        context = self._context
        digests = digests_for(self._engine, [self._plan.recipe], context.data_root)
        tasks = []
        for candidate in candidates:
            recipe = self.recipe_of(candidate)
            cell = PlannedCell(
                name=candidate.name,
                network=recipe.network,
                weight_bits=WIDEST,
                act_bits=WIDEST,
                bits=recipe.bits,
                seed=recipe.seed,
                start=SEARCH,
                parent=None,
                epochs=recipe.epochs,
                total_epochs=recipe.epochs + self._plan.recipe.epochs,
                depth=1,
            )
            tasks.append(
                SweepCell(
                    cell,
                    recipe,
                    self.folder(candidate.name),
                    target=self._plan.target,
                    command=repeat_command(self._plan, recipe, candidate.name),
                    data_root=context.data_root,
                    device=context.device,
                    log=context.log,
                    digest=digests.get(recipe.data),
                )
            )
        return tasks

    def _ended(self, candidate: Candidate, row: Row) -> Candidate:
        """Return a candidate with what came of its training, and of asking the compiler."""
        known = {
            "validation_accuracy": row["validation_accuracy"],
            "test_accuracy": row["test_accuracy"],
            "seconds": row["seconds"]["train"],
        }
        if row["state"] != "done":
            return replace(candidate, **known, state="failed", error=f"{row['stage']}: {row['error']}")
        return self._judged(replace(candidate, **known, state="done"))

    def _judged(self, candidate: Candidate) -> Candidate:
        """Return a candidate with the compiler's figures: of the better folding, FINN's own or the solver's."""
        choices = [(network.used, network.fps, bool(network.folding)) for network in self._compiled(candidate)]

        def order(one: tuple[dict[str, int], float, bool]) -> tuple[bool, int]:
            used, fps, _ = one
            return not self._plan.fits(used, fps), used["LUT"]

        used, fps, own = min(choices, key=order)
        return replace(candidate, used=used, fps=fps, own_folding=own)

    def _compiled(self, candidate: Candidate) -> list[CompiledNetwork]:
        """Return what the compiler says of a candidate, with FINN's folding and with the solver's."""
        folder = self.folder(candidate.name)
        nodes = {path: layer.node for path, layer in self._structure.layers.items()}
        found = [by_finn(folder, candidate.bits)]
        solved = by_solver(folder, candidate.bits, candidate.folding, nodes, self._plan.target)
        return found if solved is None else [*found, solved]


def repeat_command(plan: FitPlan, recipe: Recipe, name: str) -> str:
    """Return training at the widest bits, training of a candidate, and its export as one shell line."""
    start = plan.run
    commands = []
    if start is None:
        start = f"{REBUILT}/{BASE_NAME}"
        commands.append(["qtrain", "train", plan.recipe.network, *recipe_flags(plan.recipe), f"--out={start}"])
    folder = f"{REBUILT}/{name}"
    trained = recipe.replace(init_from=start)
    commands.append(["qtrain", "train", recipe.network, *recipe_flags(trained), f"--out={folder}"])
    target = plan.target
    asked = [f"--board={target.board}", f"--target-fps={target.fps}", f"--clock-ns={target.clock_ns:g}"]
    commands.append(["qtrain", "export", folder, *asked])
    return " && ".join(shlex.join(words) for words in commands)

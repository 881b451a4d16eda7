"""What is known of a network's costs: all that the compiler has said, the model fitted to it, and the solver on top."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qtrain.experiments.fit.choose import Choice, Solver
from qtrain.experiments.fit.compiled import Bench, Question, with_answer
from qtrain.experiments.fit.cost import KINDS, CostModel, ModelError
from qtrain.experiments.fit.plan import FitPlan
from qtrain.experiments.sensitivity.growth import Growth
from qtrain.records.fit import CompiledFile, CompiledNetwork

TRIES = 4  # networks that the compiler is asked about until one keeps within the limits


class Knowledge:
    """What is known so far; it grows with every answer of the compiler.

    Args:
        plan: of the fit.
        out: its folder.
        bench: that asks the compiler.
        known: its answers so far; the file in ``out`` grows with more.
        growth: of the loss, by quantizer and bits.
        trained: what the compiler said of candidates.
        stop: says whether to leave a choice.

    Raises:
        UserError: nothing can be fitted to the answers, or a layer is too slow however it is folded.
    """

    def __init__(
        self,
        plan: FitPlan,
        out: Path,
        bench: Bench,
        known: CompiledFile,
        growth: Growth,
        trained: Sequence[CompiledNetwork],
        stop: Callable[[], bool] = lambda: False,
    ):
        self._plan = plan
        self._out = out
        self._bench = bench
        self._known = known
        self._growth = growth
        self._trained = [*trained]
        self._stop = stop
        self.solver = self._solver()

    def _solver(self) -> Solver:
        model = CostModel(self._bench.structure, [*self._known.networks, *self._trained])
        return Solver(model, self._growth, self._plan.limits, self._plan.cycles, self._stop)

    def add(self, trained: Sequence[CompiledNetwork]) -> None:
        """Take what the compiler said of candidates, and fit the model anew."""
        self._trained += trained
        self.solver = self._solver()

    def error(self) -> ModelError:
        """Judge the model on the networks that it is not fitted to; on all where there is none."""
        held_out = [network for network in self._known.networks if network.held_out]
        return self.solver.model.error(held_out or self._known.networks)

    def within(self, name: str, bound: float, others: Sequence[Mapping[str, int]], apart: int) -> Choice | None:
        """Return the best network within a bound on LUTs that the compiler, too, says keeps within the limits.

        Where it says more than the model had predicted, the bounds are tightened by that and the choice is made anew: a
        question takes seconds, a training hours.

        Args:
            name: of the candidate.
            bound: the most LUTs.
            others: networks that it must not be.
            apart: quantizers in which it must differ from each of them; 1 where none does.

        Returns:
            None where no such network is found.
        """
        refused: list[Mapping[str, int]] = []
        slack = dict.fromkeys(KINDS, 0.0)
        for attempt in range(1, TRIES + 1):
            limits = {kind: most - slack.get(kind, 0.0) for kind, most in self._plan.limits.items()}
            most = min(bound, limits["LUT"])
            passed = [*others, *refused]
            choice = self.solver.choose(most, passed, apart, limits) or self.solver.choose(most, passed, 1, limits)
            if choice is None:
                return None
            answer = self._ask(f"{name} before training, {attempt}", choice)
            if answer is None:
                refused.append(choice.bits)
                continue
            if self._plan.fits(answer.used, answer.fps):
                return choice
            slack = {kind: max(slack[kind], answer.used[kind] - choice.predicted[kind]) for kind in KINDS}
        return None

    def _ask(self, name: str, choice: Choice) -> CompiledNetwork | None:
        """Let the compiler estimate a choice with its folding; the model is fitted to that too."""
        self._known, answer = with_answer(self._known, self._bench, Question(name, choice.bits, folding=choice.folding))
        self._known.write(self._out)
        self.solver = self._solver()
        return answer

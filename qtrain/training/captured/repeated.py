"""Work that is repeated, kernel by kernel at first and then as a CUDA graph: a training step, a batch of a validation.

Only work that is the same every time is captured: neither Python's values nor its random numbers move in it, and the
host reads nothing. The first replay is held against the same work done kernel by kernel. Where any of it fails, one
line says why, and the kernels are launched one by one.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qtrain.training.captured.graph import StepGraph
from qtrain.training.captured.outcome import Kept, agree, values_of
from qtrain.training.captured.state import PythonState

WARM_UP = 3  # times in a row that change nothing of Python's, before the capture; libraries choose their algorithms
PATIENCE = 100  # further times, after quantizers have collected, in which Python's values may still move
MOST_CAPTURES = 4  # a value that changes between two times, now and then, costs a capture each time

Once = Callable[[bool], Tensor]  # does the work, told whether it is captured now; returns its result


@dataclass(frozen=True)
class Words:
    """What is captured, for a person.

    Attributes:
        whole: what goes on without a graph: "training".
        part: what is done once: "step".
    """

    whole: str
    part: str


class Repeated:
    """Work that becomes a CUDA graph where that can be.

    Args:
        words: for the line that says why it does not.
        model: that takes part in it.
        device: of its parameters.
        cuda: ``torch.cuda``, or what stands in for it; None runs all kernels one by one.
        optimizer: that updates the model in it; None for work that updates nothing.
        warm_up: times in a row that must change nothing of Python's, 1 or more.

    Attributes:
        why_not: why it will not be captured any more; None while it is or may be.
        graph: what captures and replays; None where the work is never captured, or not any more.
    """

    def __init__(
        self,
        words: Words,
        model: nn.Module,
        device: torch.device,
        cuda: Any,
        optimizer: Optimizer | None = None,
        warm_up: int = WARM_UP,
    ):
        self.why_not: str | None = None
        self.graph = None if cuda is None else StepGraph(device, cuda)
        self._words = words
        self._model = model
        self._device = device
        self._optimizer = optimizer
        self._warm_up = warm_up
        self._captured: tuple[PythonState, Tensor] | None = None  # what the graph was made with, and its result
        self._stable = self._times = self._captures = 0

    @property
    def captured(self) -> bool:
        """Whether there is a graph to replay."""
        return self._captured is not None

    def take(self, once: Once, moves: tuple[Tensor, ...] = (), *, looks: bool = True) -> Tensor:
        """Do the work once.

        Args:
            once: the same each time; what it launches is in the graph.
            moves: tensors that it moves in place beside the model's and the optimizer's.
            looks: see first whether a value of the model was set from outside, which the graph does not know.

        Returns:
            The work's result, which the next time may overwrite.
        """
        graph = self.graph
        if graph is None:
            return once(False)
        if self._captured is not None and looks and (moved := self._captured[0].moved()):
            self.forget()
            if self._captures == MOST_CAPTURES:
                return self._go_on_plainly(f"{moved} changes again and again", once)
        if self._captured is not None:
            graph.replay()
            return self._captured[1]
        if self._stable < self._warm_up:
            return self._try(graph, once)
        return self._capture(graph, once, moves)

    def take_plainly(self, once: Once) -> Tensor:
        """Do the work kernel by kernel, where it would be captured."""
        return once(False) if self.graph is None else _run(self.graph, once)

    def forget(self) -> None:
        """Begin anew: what the graph was made with is not so any more."""
        self._captured = None
        self._stable = 0

    def stop(self) -> None:
        """Launch the kernels one by one from now on, without a word."""
        self.graph = self._captured = None

    def _try(self, graph: StepGraph, once: Once) -> Tensor:
        """Do the work kernel by kernel, and see whether it could be captured the next time."""
        # While quantizers collect, their counters show it, and a closer look each time would be paid for nothing.
        deep = self._stable > 0 or self._warm_up == 1
        before = PythonState(self._model, self._optimizer, self._device, deep=deep)
        places: list[str] = []
        if self._stable == self._warm_up - 1:
            with graph.watched() as places:
                found = _run(graph, once)
        else:
            found = _run(graph, once)
        self._times += 1
        moved = before.moved_by_a_step()
        self._stable = 0 if moved else self._stable + 1
        part = self._words.part
        if places and not moved:
            self._give_up(f"the {part} reads from the device at {places[0]}")
        elif moved and self._times >= _collecting_steps(self._model) + PATIENCE:
            self._give_up(f"{moved} changes from {part} to {part}")
        return found

    def _capture(self, graph: StepGraph, once: Once, moves: tuple[Tensor, ...]) -> Tensor:
        """Capture the work at hand, and do it both ways; what stays is the ordinary way's."""
        python = PythonState(self._model, self._optimizer, self._device)
        kept = Kept(python, moves)
        random_state = graph.random_state()
        self._captures += 1
        results: list[Tensor] = []
        try:
            graph.record(lambda: results.append(once(True)))
        except Exception as error:
            kept.restore()
            return self._go_on_plainly(f"its capture failed: {_first_reason(error)}", once)
        result = results[0]
        gradients = [parameter.grad for parameter in self._updated()]
        kept.restore()  # a capture changes nothing; work that went past it would pass for the replay's
        graph.set_random_state(random_state)
        graph.replay()
        replayed = [*values_of(kept.tensors), result.clone()]
        ordinary: list[Tensor] = []

        def again() -> list[Tensor]:
            kept.restore()
            graph.set_random_state(random_state)
            ordinary[:] = [_run(graph, once)]
            return [*values_of(kept.tensors), ordinary[0].clone()]

        if not agree(replayed, again, [*kept.values, torch.zeros_like(result)]):
            part = self._words.part
            self._give_up(f"a replayed {part} differs from an ordinary one")
            return ordinary[0]
        self._captured = python, result
        for parameter, gradient in zip(self._updated(), gradients, strict=True):
            parameter.grad = gradient  # where the graph writes it
        return ordinary[0]

    def _go_on_plainly(self, reason: str, once: Once) -> Tensor:
        self._give_up(reason)
        return once(False)

    def _give_up(self, reason: str) -> None:
        self.why_not = reason
        self.stop()
        warnings.warn(f"{self._words.whole} goes on without a CUDA graph: {reason}", stacklevel=2)

    def _updated(self) -> list[Tensor]:
        groups = [] if self._optimizer is None else self._optimizer.param_groups
        return [parameter for group in groups for parameter in group["params"]]


def _run(graph: StepGraph, once: Once) -> Tensor:
    """Do the work kernel by kernel where it would be captured."""
    results: list[Tensor] = []
    graph.run(partial(_append, results, once))
    return results[0]


def _append(results: list[Tensor], once: Once) -> None:
    results.append(once(False))


def collecting(model: nn.Module) -> bool:
    """Whether quantizers of the model still collect statistics, after which their scales come from elsewhere."""
    modules = [module for module in model.modules() if hasattr(module, "collect_stats_steps")]
    return any(int(getattr(module, "counter", 0)) <= int(module.collect_stats_steps) for module in modules)  # type: ignore[arg-type]


def _collecting_steps(model: nn.Module) -> int:
    """Steps for which quantizers of the model collect statistics at most."""
    return max((int(getattr(module, "collect_stats_steps", 0)) for module in model.modules()), default=0)


def _first_reason(error: BaseException) -> str:
    """What made a capture fail, in one line: its end raises once more, and says only that something did before."""
    while error.__context__ is not None:
        error = error.__context__
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}"

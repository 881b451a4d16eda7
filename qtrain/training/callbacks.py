"""Callbacks: code of one's own that a run calls at its beginning, after each step, after each epoch and at its end."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from qtrain.errors import UserError
from qtrain.own_code import one_line
from qtrain.recipe import Recipe
from qtrain.records.runs import Result
from qtrain.training.session import Session

PLAIN = (Tensor, bool, int, float, str, type(None))


@dataclass
class TrainingRun:
    """The run that a callback is called by.

    Attributes:
        recipe: decides the run.
        folder: where it is written.
        session: everything that changes while it trains; the properties below are what most callbacks need of it.
    """

    recipe: Recipe
    folder: Path
    session: Session

    @property
    def model(self) -> nn.Module:
        """The network with the weights that are being trained, on the run's device."""
        return self.session.model

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the run's method."""
        return self.session.optimizer

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return len(self.session.batches)

    @property
    def steps_done(self) -> int:
        """Steps that the run has behind it, those before a resume included."""
        return self.session.steps_done

    @property
    def best_epoch(self) -> int:
        """The epoch with the best validation accuracy so far, from 1; 0 before the first."""
        return self.session.at.best_epoch

    @property
    def best_accuracy(self) -> float:
        """The best validation accuracy so far, in percent; -1 before the first."""
        return self.session.at.best_accuracy

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes; under torchrun callbacks run in every process."""
        return self.session.ranks.is_first


class Callback:
    """Called by a run; every method may be left as it is, which does nothing.

    A subclass overrides what it needs. Hooks return why the run is to end, in words, or None to go on. A run that a
    hook ends trains its epoch to the end, and then tests its best weights as after the last epoch; the result's record
    says which callback ended it and why. To save a run and leave it for later, see ``RunContext.stop``.

    What a callback remembers belongs into ``state_dict``: it is in every checkpoint, and a resumed run gives it back
    before ``on_train_begin``. A run that was killed goes on behind its last checkpoint, so that what came after that is
    told once more, to a callback that knows nothing of it. A hook that draws random numbers of torch's global
    generator, or changes the model, changes the run.

    Under torchrun each process calls its own callbacks, and where one wants the run to end, all end.
    """

    @property
    def name(self) -> str:
        """What errors, checkpoints and records call it; of two callbacks in a run with one name the second has a 2."""
        return type(self).__name__

    def on_train_begin(self, run: TrainingRun) -> None:
        """Told before the first step, also of a resumed run."""

    def on_step_end(self, run: TrainingRun, loss: Tensor) -> str | None:
        """Told after each step.

        A run without this hook has nothing to call. With it a step costs what the hook does: on a GPU Python is many
        steps ahead of the device, and whatever reads a value there (``loss.item()``, ``print(loss)``, ``if loss > 1``)
        waits for all of them. Keep tensors, and read them once an epoch.

        Where steps are CUDA graphs, the hook's kernels run behind the graph's, not in it. Parameters that it writes in
        place are those of the next step. Tensors, modules and Python values of the model that it replaces are noticed
        at the latest ten steps on; replace them in ``on_epoch_end``.

        Args:
            run: that calls.
            loss: of the step before its update, a scalar on the run's device; the next step overwrites it, so keep
                ``loss.clone()``.

        Returns:
            Why the run is to end after this epoch, or None.
        """
        return None

    def on_epoch_end(self, run: TrainingRun, record: Mapping[str, Any]) -> str | None:
        """Told after each epoch and its validation, before its record and its checkpoint are written.

        Args:
            run: that calls.
            record: of the epoch, as it will stand in ``records.jsonl`` (``qtrain.records.runs.Epoch``): epoch (from 1),
                lr, loss, validation_loss, validation_accuracy in percent, draws, ...

        Returns:
            Why the run is to end with this epoch, or None.
        """
        return None

    def on_train_end(self, run: TrainingRun, result: Result | None) -> None:
        """Told at the end, with the result; None where the run was stopped or failed and can be resumed."""

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` needs: tensors, numbers, text, None, and lists and dicts of these."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""


@dataclass
class EarlyStop(Callback):
    """Ends a run that does not get better any more; ``Recipe.early_stop`` puts it into one.

    It remembers nothing: the checkpoint knows the best epoch.

    Attributes:
        patience: epochs in a row without a better validation accuracy, 1 or more.
    """

    patience: int

    def on_epoch_end(self, run: TrainingRun, record: Mapping[str, Any]) -> str | None:
        """End the run where the best epoch is ``patience`` epochs ago."""
        if record["epoch"] - run.best_epoch < self.patience:
            return None
        return f"no better validation accuracy since epoch {run.best_epoch}"


class Callbacks:
    """The callbacks of a run: calls them in order, keeps their states, and knows whether one has ended the run.

    Args:
        given: by the user.
        recipe: of the run; an early stop comes behind what was given.

    Raises:
        UserError: something that is no ``Callback``.
    """

    def __init__(self, given: Sequence[Callback], recipe: Recipe):
        callbacks = list(given)
        if recipe.early_stop is not None:
            callbacks.append(EarlyStop(recipe.early_stop))
        self._named: dict[str, Callback] = {}
        for callback in callbacks:
            if not isinstance(callback, Callback):
                kind = callback.__name__ if isinstance(callback, type) else type(callback).__name__
                raise UserError(f"callbacks must be objects of qtrain.training.Callback's subclasses, but got {kind}")
            self._named[self._free_name(callback.name)] = callback
        steppers = [(n, c) for n, c in self._named.items() if type(c).on_step_end is not Callback.on_step_end]
        self._steppers = tuple(steppers)
        self.stopped_by: str | None = None
        self.why_stopped: str | None = None

    def _free_name(self, name: str) -> str:
        number = 1
        free = name
        while free in self._named:
            number += 1
            free = f"{name} {number}"
        return free

    @property
    def stopped(self) -> bool:
        """Whether one has ended the run."""
        return self.stopped_by is not None

    def begin(self, run: TrainingRun) -> None:
        """Tell all that the run begins."""
        for name, callback in self._named.items():
            with _blaming(name):
                callback.on_train_begin(run)

    def step_end(self, run: TrainingRun, loss: Tensor) -> None:
        """Tell those that want to know of a step."""
        for name, callback in self._steppers:
            with _blaming(name):
                self._take(name, callback.on_step_end(run, loss))

    def epoch_end(self, run: TrainingRun, record: Mapping[str, Any]) -> None:
        """Tell all of an epoch; all ranks agree then on whether the run ends."""
        for name, callback in self._named.items():
            with _blaming(name):
                self._take(name, callback.on_epoch_end(run, record))
        ranks = run.session.ranks
        if self._named and not ranks.alone and ranks.any(self.stopped):
            by, why = ranks.first((self.stopped_by, self.why_stopped))
            self.stopped_by = by or "a callback of another rank"
            self.why_stopped = why or "it says why there"

    def end(self, run: TrainingRun, result: Result | None) -> None:
        """Tell all that the run has ended; of one that failed the first error is the one to be heard of."""
        for name, callback in self._named.items():
            try:
                with _blaming(name):
                    callback.on_train_end(run, result)
            except UserError:
                if result is not None:
                    raise

    def _take(self, name: str, why: Any) -> None:
        if why is None or self.stopped:
            return
        if not isinstance(why, str):
            raise UserError(f"a hook must return why the run is to end, as text, or None, but returned {why!r}")
        self.stopped_by = name
        self.why_stopped = why

    def state_dict(self) -> dict[str, Any]:
        """Return what the run's checkpoint gets beside its own; nothing where there is nothing to remember.

        Raises:
            UserError: a callback's state holds what no checkpoint may.
        """
        states = {}
        for name, callback in self._named.items():
            with _blaming(name):
                state = callback.state_dict()
                _check_plain(state)
            if state:
                states[name] = state
        if not states and not self.stopped:
            return {}
        return {"callbacks": {"states": states, "stopped_by": self.stopped_by, "why_stopped": self.why_stopped}}

    def load_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on where a checkpoint, with all that it holds, was written.

        Raises:
            UserError: it has the state of a callback that is not here, or a callback does not take its own.
        """
        kept = checkpoint.get("callbacks")
        if kept is None:
            return
        for name, state in kept["states"].items():
            if name not in self._named:
                raise UserError(
                    f"the run has a callback {name}, whose state is in its checkpoint; resume it from Python with "
                    "qtrain.experiments.run.resume_run(folder, callbacks=[...])"
                )
            with _blaming(name):
                self._named[name].load_state_dict(state)
        self.stopped_by = kept["stopped_by"]
        self.why_stopped = kept["why_stopped"]


def _check_plain(state: Any) -> None:
    """See that a checkpoint can hold a state and give it back.

    Raises:
        UserError: it cannot.
    """
    for value in _leaves(state):
        if type(value) not in PLAIN and not isinstance(value, Tensor):
            raise UserError(
                f"its state_dict holds a {type(value).__name__}; a checkpoint takes tensors, numbers, text, None, and "
                "lists and dicts of these"
            )


def _leaves(state: Any) -> Iterator[Any]:
    """Yield what is in a state, its keys too."""
    if type(state) is dict:
        for key, value in state.items():
            yield key
            yield from _leaves(value)
    elif type(state) in (list, tuple):
        for value in state:
            yield from _leaves(value)
    else:
        yield state


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Inside, what a callback raises becomes one line that names it; the cause is kept for a traceback."""
    try:
        yield
    except UserError as error:
        raise UserError(f"callback {name}: {error}") from error
    except Exception as error:  # whatever somebody else's code does
        last = extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        raise UserError(f"callback {name} failed in {where} ({one_line(error)}); mend it or leave it out") from error

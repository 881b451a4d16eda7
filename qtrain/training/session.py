"""What changes while a run trains, and what of it a checkpoint keeps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from qtrain.data import Batches, Split
from qtrain.data.tables import EpochTables, tables_of
from qtrain.errors import UserError
from qtrain.models.fast_evaluation import fast_evaluation
from qtrain.models.network import Network
from qtrain.recipe import Recipe
from qtrain.training import checkpoint
from qtrain.training.average import Average, average_of, swapped
from qtrain.training.batchnorm import norms, re_estimate
from qtrain.training.captured.step import Batch, StaticStep, Work, can_capture
from qtrain.training.check_model import check_logits
from qtrain.training.distributed import ALONE, Ranks
from qtrain.training.evaluation import Evaluation, evaluate
from qtrain.training.hidden_state import hidden_state, numbers_by_name, restore_hidden_state
from qtrain.training.methods.make import make_method
from qtrain.training.methods.method import Method
from qtrain.training.saved_state import MEND, check_kinds, check_optimizer, position_from, restoring
from qtrain.training.teacher import Distillation
from qtrain.training.validation import Validation

Loss = Callable[[Tensor, Tensor], Tensor]
RE_ESTIMATION_BATCHES = 50  # as schedulefree's authors advise
# Steps between two looks at what Python holds, from an epoch's first on: evaluations and callbacks come between epochs,
# and a look costs a quarter of a millisecond for CNV.
LOOK_EVERY = 10


@dataclass
class Position:
    """Where a run is: what comes next, and what it has found so far."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    lr: float = 0.0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    resumed: int = 0


@dataclass
class Session:
    """Everything that changes while a run trains.

    Attributes:
        model: whose parameters are trained.
        method: what the recipe's scheduler stands for.
        batches: of the training split.
        at: where the run is.
        forward: what a step calls: the model, or the same compiled.
        ranks: the processes of the run.
        cuda: what runs steps as CUDA graphs: ``torch.cuda`` where the model lies on a GPU, else None.
        captures: whether steps and validations become graphs where optimizer, step and network allow it.
        classes: of the data, which the logits of every step are held to; None looks at nothing.
        average: of the weights, that is judged in their place; None where there is none, or the method has its own.
        distillation: what a teacher adds to the loss; None without one.
        loss_sum: float64 [], of all images of the epoch's steps so far, on the model's device.
    """

    model: nn.Module
    method: Method
    batches: Batches
    at: Position
    forward: Callable[[Tensor], Tensor]
    ranks: Ranks = ALONE
    cuda: Any = None
    captures: bool = True
    classes: int | None = None
    average: Average | None = None
    distillation: Distillation | None = None
    loss_sum: Tensor = field(init=False)
    _static: StaticStep | None = None
    _tables: EpochTables | None = None
    _validation: Validation | None = None
    _start: dict[str, bool | int | float] = field(init=False)

    def __post_init__(self) -> None:
        self._start = numbers_by_name(self.model)
        device = next(self.model.parameters()).device
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)

    @property
    def steps_done(self) -> int:
        """Steps that the run has behind it."""
        return self.at.epoch * len(self.batches) + self.at.step

    @property
    def captured(self) -> bool:
        """Whether steps are replayed from a CUDA graph by now."""
        return self._static is not None and self._static.captured

    @property
    def why_not_captured(self) -> str | None:
        """Why steps were launched kernel by kernel on a GPU from some step on; None where nothing speaks against it."""
        return None if self._static is None else self._static.why_not

    @property
    def validation(self) -> Validation | None:
        """What validates on a GPU, captured or not; None before the first time, and elsewhere."""
        return self._validation

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer of the run's method."""
        return self.method.optimizer

    def batch_loss(self, loss: Loss, images: Tensor, labels: Tensor, backward: bool = True) -> Tensor:
        """The closure of a step, once its first three arguments are bound: the batch's loss, and its gradients.

        Of several ranks each has its share of the batch, and all get the whole batch's loss and gradients.

        Args:
            loss: of logits and labels.
            images: float [B, C, H, W], this rank's.
            labels: int64 [B], or with mixup the classes' shares, float32 [B, classes].
            backward: fill the gradients; without it the loss alone is computed.
        """
        logits = self.forward(images)
        if self.classes is not None:  # some networks give other outputs in training than in evaluation
            check_logits(logits, len(labels), self.classes, type(self.model).__name__)
        value = loss(logits, labels)
        if backward:
            self.optimizer.zero_grad()
            value.backward()
        return self.ranks.mean_step(self.model, value, len(labels), gradients=backward)

    def steps(self, loss: Loss) -> Iterator[Tensor]:
        """Take the epoch's steps, or those that are left; ``after_step`` is to be called between them.

        Args:
            loss: of logits and labels.

        Yields:
            The loss before each step, detached; the next step may overwrite it.
        """
        self.loss_sum.fill_(self.at.loss_sum)
        epoch = self.at.epoch
        tables = self._tables = self._tables or (tables_of(self.batches) if self._is_static else None)
        if tables is None:
            for images, labels in self.batches.epoch(epoch, start=self.at.step):
                yield self.step(loss, images, labels)
            return
        tables.begin(epoch, self.at.step)
        for number in range(self.at.step, len(self.batches)):
            count = self.batches.images_in(number)
            self._before_step()
            work = self._work(loss, partial(tables.read, count), count, (tables.position,))
            yield self._static_step().step(work, looks=number % LOOK_EVERY == 0)
        tables.prepare(epoch + 1)

    def step(self, loss: Loss, images: Tensor, labels: Tensor) -> Tensor:
        """Let the method set the step's rate, the optimizer take the step, and the model clip its weights.

        A line search asks for more losses.

        Args:
            loss: of logits and labels.
            images: float [B, C, H, W], this rank's.
            labels: int64 [B].

        Returns:
            The loss before the step, detached; the next step may overwrite it.
        """
        self._before_step()
        count = self.batches.images_in(self.at.step)
        if self._is_static:
            work = self._work(loss, (images, labels), len(images))
            return self._static_step().step(work, looks=self.at.step % LOOK_EVERY == 0)
        taught = self._taught(loss, images)
        found: Tensor = self.optimizer.step(partial(self.batch_loss, taught, images, labels))  # type: ignore[arg-type, assignment]  # torch types it for floats
        self._finish(count, found.detach(), clipped=False)
        return found.detach()

    def _taught(self, loss: Loss, images: Tensor) -> Loss:
        """Return the loss with what the teacher says of a step's images, asked once however often the loss is."""
        return loss if self.distillation is None else self.distillation.loss(loss, images)

    def _first_loss(self, loss: Loss, images: Tensor, labels: Tensor) -> Tensor:
        """Compute all that a step of one loss computes before its update."""
        return self.batch_loss(self._taught(loss, images), images, labels)

    def _before_step(self) -> None:
        self.ranks.seed_step(self.batches.seed, self.at.epoch, self.at.step)
        self.method.before_step(self.at.epoch + self.at.step / len(self.batches))
        if self.at.step == 0:
            self.at.lr = self.method.rate()

    @property
    def _is_static(self) -> bool:
        """Whether steps may become a graph: ranks talk to each other inside the closure, which no graph can hold."""
        return self.cuda is not None and self.ranks.alone and can_capture(self.optimizer)

    def _static_step(self) -> StaticStep:
        if self._static is None:
            full = self.batches.images_in(0)
            self._static = StaticStep(self.model, self.optimizer, full, self.cuda if self.captures else None)
        return self._static

    def _work(self, loss: Loss, batch: Batch | Callable[[], Batch], count: int, moves: tuple[Tensor, ...] = ()) -> Work:
        """The parts of a step; made anew each time: kept, they would be a cycle that holds data and graph."""
        compute = partial(self._first_loss, loss)
        after = partial(self._finish, count)
        return Work(batch, count, compute, after, self._limits, (*moves, self.loss_sum))

    @property
    def _limits(self) -> dict[Tensor, float]:
        """Of the weights that the zoo's networks clip; what another network does in its stead is its own matter."""
        if not self._clips_as_zoo:
            return {}
        model = cast(Network, self.model)
        limits = model.weight_limits
        return {cast(Tensor, model.get_submodule(path).weight): limit for path, limit in limits.items()}

    @property
    def _clips_as_zoo(self) -> bool:
        return getattr(type(self.model), "clip_weights", None) is Network.clip_weights

    def _finish(self, count: int, loss: Tensor, clipped: bool) -> None:
        """Add the step's loss to the epoch's, and bring weights back into their range where the model does so."""
        self.loss_sum += self.counted(loss) * count
        clip_weights: Callable[[], None] | None = getattr(self.model, "clip_weights", None)
        if clip_weights is not None and not (clipped and self._clips_as_zoo):
            clip_weights()

    def after_step(self) -> None:
        """Let the method and the average see the new weights, and count the step."""
        self.method.after_step(self.at.epoch + self.at.step / len(self.batches))
        if self.average is not None:
            self.average.add(self.model, self.method.parameters())
        self.at.step += 1

    def next_epoch(self) -> None:
        """Go on to the first step of the next epoch."""
        self.at.epoch += 1
        self.at.step = 0
        self.at.loss_sum = 0.0

    def counted(self, loss: Tensor) -> Tensor:
        """The loss as the epoch's mean takes it: 0 for a step that the method left out."""
        return loss.nan_to_num(0.0, 0.0, 0.0) if self.method.skips_non_finite else loss

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Inside, the model is the one to be judged and kept: an average of weights has its own BatchNorm."""
        averaged = self.average is not None and self.average.seen > 0
        means = self.average.means if self.average is not None and averaged else []
        with self.method.judged(), swapped(self.method.parameters() if averaged else [], means):
            if not (averaged or self.method.judges_others):
                yield
                return
            buffers = [buffer for norm in norms(self.model) for buffer in norm.buffers()]
            kept = [buffer.clone() for buffer in buffers]
            images = (images for images, _ in self.batches.epoch(self.at.epoch))
            re_estimate(self.model, islice(images, RE_ESTIMATION_BATCHES))
            self.ranks.mean([buffer for buffer in buffers if buffer.is_floating_point()])
            try:
                yield
            finally:
                for buffer, value in zip(buffers, kept, strict=True):
                    buffer.copy_(value)

    def validate(self, split: Split, loss: Loss) -> Evaluation:
        """Judge the model, inside ``judged``, on every image once, with Brevitas' logits; on a GPU as a graph.

        Args:
            split: on the model's device, the same one after every epoch.
            loss: of logits and labels.
        """
        on_device = type(split) is Split  # else the host decodes each image
        if self.cuda is None or not self.ranks.alone or not on_device:
            with fast_evaluation(self.model):
                return evaluate(self.model, split, loss, ranks=self.ranks)
        if self._validation is None or not self._validation.is_of(split, loss):
            self._validation = Validation(self.model, split, loss, self.cuda, captures=self.captures)
        return self._validation.evaluate()

    def lr(self) -> float:
        """An epoch's rate for its record: that of its first step, or the last where the method finds it by itself."""
        return self.method.rate() if self.method.finds_rate else self.at.lr

    def draws(self) -> dict[str, float]:
        """Each layer's learning rate at the last step."""
        groups = self.optimizer.param_groups
        return {group["name"]: rate for group, rate in zip(groups, self.method.rates(), strict=True)}

    def state(self, recipe: Recipe) -> dict[str, Any]:
        """What ``restore`` needs; tensors and plain values."""
        return {
            "recipe": recipe.to_dict(),
            "model": self.model.state_dict(),
            "hidden": hidden_state(self.model, self._start),
            "method": self.method.state_dict(),
            "position": asdict(self.at),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() and self.ranks.alone else [],
            **({} if self.average is None else {"average": self.average.state_dict()}),
        }

    def restore(self, path: Path, recipe: Recipe, device: torch.device) -> dict[str, Any]:
        """Continue where the checkpoint was written; return all that it holds."""
        state = checkpoint.load(path, device)
        checkpoint.check_recipe(state, recipe.to_dict(), path)
        if missing := [name for name in self.state(recipe) if name not in state]:
            raise UserError(f"{path} lacks {', '.join(missing)}; train again or take an older copy")
        checkpoint.load_weights(self.model, state["model"], path)
        self._static = None
        self._tables = None
        self._validation = None
        self.at = position_from(Position, state["position"], path)
        if self.at.epoch > recipe.epochs or self.at.step > len(self.batches):  # the last step's validation may be left
            raise UserError(f"{path} is damaged (it is behind the end of the run); {MEND}")
        self.at.resumed += 1
        with restoring(path):
            restore_hidden_state(self.model, state["hidden"], self._start)
            # Loading makes new parameters of Brevitas' trained scales: an optimizer made before trains the old ones.
            self.method = make_method(self.model, recipe, len(self.batches))
            check_kinds(self.method.state_dict(), state["method"], path, "method")
            self.method.load_state_dict(state["method"])
            check_optimizer(self.optimizer, path)
            self.average = average_of(recipe, self.method)
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            torch.set_rng_state(state["rng"].cpu())
            if device.type == "cuda" and state["cuda_rng"]:
                here = state["cuda_rng"][: torch.cuda.device_count()]  # it may have been written beside more GPUs
                torch.cuda.set_rng_state_all([s.cpu() for s in here])
        return state

"""What the parts of the training loop share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from qtrain.data import DataSet
from qtrain.recipe import Recipe
from qtrain.training.callbacks import Callbacks, TrainingRun
from qtrain.training.losses import LOSSES
from qtrain.training.progress import Watcher
from qtrain.training.saver import Saver
from qtrain.training.session import Loss, Session


@dataclass(frozen=True)
class Run:
    """A run that is training.

    Attributes:
        recipe: of the run.
        data: on the device.
        session: all that changes while the run trains.
        saver: writes to its folder.
        where: its device.
        watch: told of every step; silent on all ranks but the first.
        callbacks: the run's own, on all ranks.
        stopped: whether the run is to be saved and ended now; all ranks ask together.
    """

    recipe: Recipe
    data: DataSet
    session: Session
    saver: Saver
    where: torch.device
    watch: Watcher
    callbacks: Callbacks
    stopped: Callable[[], bool]

    @property
    def title(self) -> str:
        """What loggers and whoever looks on call the run."""
        return f"{self.recipe.network} {self.recipe.scheduler} seed {self.recipe.seed}"

    @property
    def facts(self) -> dict[str, Any]:
        """What every record but the first says of the run."""
        return {"seed": self.recipe.seed, "protocol": self.recipe.protocol, "scheduler": self.recipe.scheduler}

    @property
    def loss(self) -> Loss:
        """The recipe's loss, of logits and labels, that validation and test have."""
        return LOSSES[self.recipe.loss]

    @property
    def seen(self) -> TrainingRun:
        """The run as callbacks see it."""
        return TrainingRun(self.recipe, self.saver.out, self.session)

    @property
    def ended(self) -> bool:
        """Whether there is no epoch to train any more: all are behind, or a callback has ended the run after one."""
        at = self.session.at
        return at.epoch >= self.recipe.epochs or (self.callbacks.stopped and at.step == 0)

    def save(self) -> None:
        """Begin to write the checkpoint to go on from."""
        if self.session.ranks.is_first:
            self.saver.save(self.session.state(self.recipe) | self.callbacks.state_dict())

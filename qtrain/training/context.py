"""Where a run happens and who is told of it: what travels with a recipe and decides nothing of what it computes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from qtrain.training.loggers.make import DEFAULT
from qtrain.training.progress import Silent, Watcher


def _never() -> bool:
    return False


def _nobody(_: str) -> None:
    pass


@dataclass(frozen=True)
class RunContext:
    """Where a run happens and who is told of it.

    Attributes:
        data_root: folder of the data; else QTRAIN_DATA, else the user's cache.
        device: auto, cpu, cuda or cuda:N.
        watch: told where the run is, step by step.
        say: told in sentences what is being done and what came of it.
        detail: told in sentences what most people need not know: sizes, threads, layers that take another path.
        stop: asked after every step; True saves and raises Interrupted, as Ctrl-C does.
        log: names of the loggers that get the run's records: tensorboard, csv, wandb, mlflow.
    """

    data_root: str | Path | None = None
    device: str = "auto"
    watch: Watcher = field(default_factory=Silent)
    say: Callable[[str], None] = _nobody
    detail: Callable[[str], None] = _nobody
    stop: Callable[[], bool] = _never
    log: tuple[str, ...] = DEFAULT


HERE = RunContext()

"""The training loop, its callbacks and loggers, evaluation, checkpoints and records."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qtrain.interrupt import Interrupted
from qtrain.records.runs import Result
from qtrain.training.context import RunContext
from qtrain.training.progress import Silent, Watcher

if TYPE_CHECKING:
    from qtrain.training.callbacks import Callback, EarlyStop, TrainingRun
    from qtrain.training.evaluation import Evaluation, evaluate
    from qtrain.training.loop import train
    from qtrain.training.terminal import Terminal

__all__ = [
    "Callback",
    "EarlyStop",
    "Evaluation",
    "Interrupted",
    "Result",
    "RunContext",
    "Silent",
    "Terminal",
    "TrainingRun",
    "Watcher",
    "evaluate",
    "train",
]
_MODULES = {"Callback": "callbacks", "EarlyStop": "callbacks", "TrainingRun": "callbacks"}
_MODULES |= {"Evaluation": "evaluation", "evaluate": "evaluation", "train": "loop", "Terminal": "terminal"}


def __getattr__(name: str) -> Any:
    # Loaded on first use: engines and commands need what tells of a run long before torch.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

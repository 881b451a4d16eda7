"""The training loop, evaluation, checkpoints and records."""

from qtrain.interrupt import Interrupted
from qtrain.records.runs import Result
from qtrain.training.context import RunContext
from qtrain.training.evaluate import Evaluation, evaluate
from qtrain.training.loop import train
from qtrain.training.progress import Silent, Terminal, Watcher

__all__ = ["Evaluation", "Interrupted", "Result", "RunContext", "Silent", "Terminal", "Watcher", "evaluate", "train"]

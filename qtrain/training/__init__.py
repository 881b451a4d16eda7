"""The training loop, evaluation, checkpoints and records."""

from qtrain.training.evaluate import Evaluation, evaluate
from qtrain.training.interrupt import Interrupted
from qtrain.training.loop import Result, train
from qtrain.training.progress import Silent, Terminal, Watcher

__all__ = ["Evaluation", "Interrupted", "Result", "Silent", "Terminal", "Watcher", "evaluate", "train"]

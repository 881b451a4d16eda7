"""Where models, training and export meet: single runs, and comparisons of schedulers."""

from qtrain.experiments.comparison.compare import Comparison, compare
from qtrain.experiments.export import export_run
from qtrain.experiments.run import load_run, resume_run, train_recipe

__all__ = ["Comparison", "compare", "export_run", "load_run", "resume_run", "train_recipe"]

"""Where models, training and export meet: single runs, and comparisons of schedulers."""

from qtrain.experiments.comparison.compare import Comparison, compare
from qtrain.experiments.run import export_run, load_run, resume_run, train_recipe

__all__ = ["Comparison", "compare", "export_run", "load_run", "resume_run", "train_recipe"]

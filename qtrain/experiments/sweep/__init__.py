"""Sweeps: every bit width of a network trained, proven and estimated, and searches for each layer's bits."""

from qtrain.experiments.sweep.plan import plan_sweep
from qtrain.experiments.sweep.run import resume_sweep, sweep

__all__ = ["plan_sweep", "resume_sweep", "sweep"]

"""Optimizers that torch lacks: line searches."""

from qtrain.optimizers.armijo import SGDArmijo, armijo_accepts
from qtrain.optimizers.frozen_statistics import frozen_statistics
from qtrain.optimizers.l4 import L4Adam, L4Mom, l4_step_size

__all__ = ["L4Adam", "L4Mom", "SGDArmijo", "armijo_accepts", "frozen_statistics", "l4_step_size"]

"""Learning-rate schedulers: ASLR, transition-rate scheduling and plain schedules of the epoch."""

from qtrain.schedulers.aslr import ASLR
from qtrain.schedulers.layer_groups import layer_groups
from qtrain.schedulers.transition import QuantizedWeight, TransitionRate, transition_groups

__all__ = ["ASLR", "QuantizedWeight", "TransitionRate", "layer_groups", "transition_groups"]

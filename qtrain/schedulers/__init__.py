"""Learning-rate schedulers: ASLR and plain schedules of the epoch."""

from qtrain.schedulers.aslr import ASLR
from qtrain.schedulers.layer_groups import layer_groups

__all__ = ["ASLR", "layer_groups"]

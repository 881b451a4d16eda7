"""Image classification data held whole as uint8, and its batched augmentation."""

from qtrain.data.augment import Batches, EpochPlan, draw_epoch, ordered_batches
from qtrain.data.dataset import DataSet, Split
from qtrain.data.load import DATASETS, class_names, load_data

__all__ = [
    "DATASETS",
    "Batches",
    "DataSet",
    "EpochPlan",
    "Split",
    "class_names",
    "draw_epoch",
    "load_data",
    "ordered_batches",
]

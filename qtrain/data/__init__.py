"""Image classification data, whole as uint8 or decoded from files, and its batched augmentation."""

from qtrain.data.augment import Batches, EpochPlan, draw_epoch
from qtrain.data.batches import make_batches, ordered_batches
from qtrain.data.dataset import DataSet, Split
from qtrain.data.image_folder import FolderSplit
from qtrain.data.load import DATASETS, class_names, image_size, load_data

__all__ = [
    "DATASETS",
    "Batches",
    "DataSet",
    "EpochPlan",
    "FolderSplit",
    "Split",
    "class_names",
    "draw_epoch",
    "image_size",
    "load_data",
    "make_batches",
    "ordered_batches",
]

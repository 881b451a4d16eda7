"""Data to classify, whole as uint8 or decoded from files, and their batched augmentation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qtrain.data.catalogue import DATASETS, Source
from qtrain.data.options import PLAIN, DataOptions

if TYPE_CHECKING:
    from qtrain.data.augment import Batches, EpochPlan, draw_epoch
    from qtrain.data.batches import make_batches, ordered_batches
    from qtrain.data.dataset import DataSet, Split
    from qtrain.data.digest import data_digest
    from qtrain.data.image_folder import FolderSplit
    from qtrain.data.load import class_names, image_shape, load_data

__all__ = [
    "DATASETS",
    "PLAIN",
    "Batches",
    "DataOptions",
    "DataSet",
    "EpochPlan",
    "FolderSplit",
    "Source",
    "Split",
    "class_names",
    "data_digest",
    "draw_epoch",
    "image_shape",
    "load_data",
    "make_batches",
    "ordered_batches",
]
_MODULES = {
    "Batches": "augment",
    "DataSet": "dataset",
    "EpochPlan": "augment",
    "FolderSplit": "image_folder",
    "Split": "dataset",
    "class_names": "load",
    "data_digest": "digest",
    "draw_epoch": "augment",
    "image_shape": "load",
    "load_data": "load",
    "make_batches": "batches",
    "ordered_batches": "batches",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: a name and a recipe need the catalogue alone, and no torch.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

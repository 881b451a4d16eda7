"""What a source of data gives, before a validation split is held out."""

from __future__ import annotations

from dataclasses import dataclass

from qtrain.data.dataset import Split
from qtrain.records.data import BYTES


@dataclass(frozen=True, eq=False)
class Loaded:
    """What a source of data gives.

    Attributes:
        train: to train with, and to hold a validation split out of where there is none.
        test: None where one is to be held out of the training inputs.
        validation: None where one is to be held out of the training inputs.
        class_names: in the order of the labels.
        layout: of the data where they come from, one of ``options.LAYOUTS``.
        value_range: what the bytes 0 and 255 stand for.
        augmentation: the kinds that are usual for it; None for crop, and flip where the source says so.
        digest: of what was read, to notice other data later; empty for the published sets.
        notes: sentences for the user.
    """

    train: Split
    test: Split | None
    validation: Split | None
    class_names: tuple[str, ...]
    layout: str = "NCHW"
    value_range: tuple[float, float] = BYTES
    augmentation: tuple[str, ...] | None = None
    digest: str = ""
    notes: tuple[str, ...] = ()

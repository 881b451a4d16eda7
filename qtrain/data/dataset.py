"""What a data set is to the rest of qtrain: three splits of uint8 inputs with labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from qtrain.errors import UserError
from qtrain.records.data import BYTES, DataFacts

_MOMENTS_OF = 5000  # images at most: 60 MB of CIFAR's size in float32


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels, whole on one device.

    Attributes:
        images: uint8 [N, C, H, W], 0 to 255; a signal [C, L] is [C, L, 1], a row of F features [F, 1, 1].
        labels: int64 [N], 0 to classes - 1.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.labels.dtype != torch.int64:
            raise TypeError(
                f"a split needs uint8 [N, C, H, W] and int64 [N], got {self.images.dtype}, {self.labels.dtype}"
            )
        if self.labels.shape != (len(self.images),):
            raise ValueError(f"{len(self.images)} images, but labels of shape {tuple(self.labels.shape)}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Return the device that the images lie on."""
        return self.images.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of each channel, of images in [0, 1]; of many images every n-th counts."""
        every = -(-len(self) // _MOMENTS_OF)
        values = self.images[::every].transpose(0, 1).flatten(1).float().div_(255)
        means = [round(float(mean), 6) for mean in values.mean(1)]
        deviations = [round(float(deviation), 6) for deviation in values.std(1, correction=0)]
        return tuple(means), tuple(deviations)

    def to(self, device: torch.device | str) -> Split:
        """Return the split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))

    def take(self, count: int) -> Split:
        """Return the first `count` images.

        Raises:
            UserError: `count` is not from 1 to the length of the split.
        """
        if not 1 <= count <= len(self):
            raise UserError(f"cannot take {count} of {len(self)} images; choose from 1 to {len(self)}")
        return Split(self.images[:count], self.labels[:count])

    def select(self, indices: Tensor) -> Split:
        """Return the images at `indices` (int64 [M]), in that order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class DataSet:
    """A classification task: its images and labels in three splits.

    Attributes:
        name: one of `DATASETS`.
        classes: number of classes.
        class_names: one name a class, in the order of the labels.
        protocol: "holdout" (validation split off the training set) or "paper" (validation is the test set).
        flip: whether a horizontal flip keeps the label.
        train: what the weights are fitted to.
        validation: what drives the scheduler and picks the checkpoint.
        test: what is read once, at the end; under "paper" the same object as `validation`.
        layout: of the data where they come from, one of ``options.LAYOUTS``.
        value_range: what the bytes 0 and 255 stand for.
        augmentation: the kinds that are usual for it, of ``options.KINDS``; None for crop, and flip where labels allow.
        digest: of what was read, for data of one's own; empty for the published sets, whose files are known.
        notes: sentences for the user: what was skipped, what was held out.
    """

    name: str
    classes: int
    class_names: tuple[str, ...]
    protocol: str
    flip: bool
    train: Split
    validation: Split
    test: Split
    layout: str = "NCHW"
    value_range: tuple[float, float] = BYTES
    augmentation: tuple[str, ...] | None = None
    digest: str = ""
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of an input."""
        return self.test.shape

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of augmentation that are usual for these data."""
        if self.augmentation is not None:
            return self.augmentation
        return ("crop", "flip") if self.flip else ("crop",)

    def facts(self) -> DataFacts:
        """Return what a run's record and a FINN folder say of the data; inputs in files are not all read for it."""
        mean, deviation = self.train.moments()
        return DataFacts(
            name=self.name,
            class_names=self.class_names,
            shape=self.shape,
            layout=self.layout,
            value_range=self.value_range,
            mean=mean,
            deviation=deviation,
            digest=self.digest,
        )

    def to(self, device: torch.device | str) -> DataSet:
        """Return the data set with all its splits on `device`."""
        test = self.test.to(device)
        validation = test if self.validation is self.test else self.validation.to(device)
        return replace(self, train=self.train.to(device), validation=validation, test=test)

    def subset(self, train_size: int, *, seed: int = 0) -> DataSet:
        """Return the data set with only `train_size` training images, the first of a permutation drawn from `seed`.

        Subsets of one seed are nested. Validation and test stay whole.

        Raises:
            UserError: `train_size` is not from 1 to the length of the training split.
        """
        if not 1 <= train_size <= len(self.train):
            raise UserError(
                f"train_size {train_size} is out of range for {self.name}; choose from 1 to {len(self.train)}"
            )
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(self.train))[:train_size])
        return replace(self, train=self.train.select(order.to(self.train.device)))

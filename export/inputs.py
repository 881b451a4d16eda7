"""What a network is exported with, looked at before anything is written: images, labels, what is known of them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from qtrain.errors import UserError
from qtrain.records.data import DataFacts

LAYOUTS = ("NCHW", "NHWC", "NCL", "NF")


def check_images(pixels: Any, labels: Any) -> None:
    """See that pixels are uint8 [N, C, H, W] and labels int64 [N].

    Raises:
        UserError: they are not; says what they are.
    """
    for name, given in (("pixels", pixels), ("labels", labels)):
        if not isinstance(given, Tensor):
            raise UserError(f"{name} must be a torch tensor, but got a {type(given).__name__}; use torch.as_tensor")
    if pixels.dtype != torch.uint8 or pixels.dim() != 4 or not len(pixels):
        raise UserError(f"pixels must be uint8 [N, C, H, W] with N labels, but got {_described(pixels)}")
    if labels.shape != (len(pixels),):
        more = "; of one-hot rows take labels.argmax(1)" if labels.dim() == 2 else ""
        raise UserError(
            f"labels must be int64 [{len(pixels)}], one for each of the images (pixels with N labels), but got "
            f"{_described(labels)}{more}"
        )
    if labels.dtype != torch.int64:
        raise UserError(
            f"labels must be class numbers, int64 [{len(pixels)}], but got {_described(labels)}; make whole numbers "
            "int64 with labels.long()"
        )


def check_classes(labels: Tensor, classes: int) -> None:
    """See that every label is one of the network's classes.

    Raises:
        UserError: one is not.
    """
    low = int(labels.min())
    high = int(labels.max())
    if low < 0 or high >= classes:
        more = "; subtract 1 from labels that start at 1" if low > 0 and high == classes else ""
        raise UserError(
            f"labels go from {low} to {high}, but the network has {classes} logits: labels must be class numbers from "
            f"0 to {classes - 1}{more}"
        )


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def input_facts(data: DataFacts | None, shape: Sequence[int], classes: int) -> DataFacts:
    """Return what an export says of its data: what was given, as far as it can be, or what images and network show.

    Args:
        data: what the caller knows; None where nothing but the images is at hand.
        shape: of an image: channels, height, width.
        classes: that the network tells apart.

    Raises:
        UserError: what was given is of other images or of another network, or is no such fact.
    """
    channels, height, width = shape
    if data is None:
        return DataFacts("", (), (channels, height, width))
    if tuple(data.shape) != tuple(shape):
        raise UserError(f"data are of the shape {list(data.shape)}, but the images are {list(shape)}")
    if len(data.class_names) not in (0, classes) or not all(isinstance(name, str) for name in data.class_names):
        raise UserError(
            f"data have {len(data.class_names)} class names, but the network has {classes} logits: name each class, in "
            "the order of the labels, or none"
        )
    if data.layout not in LAYOUTS:
        raise UserError(f"data must have a layout of {', '.join(LAYOUTS)}, but got {data.layout!r}")
    _check_numbers(data, channels)
    low, high = data.value_range
    return replace(data, value_range=(float(low), float(high)))


def _check_numbers(data: DataFacts, channels: int) -> None:
    """See that the range is one, and that statistics are of each channel.

    Raises:
        UserError: they are not.
    """
    low, high = data.value_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"data must have a value range from a lower to a higher number, but got {data.value_range}")
    for what in ("mean", "deviation"):
        values = getattr(data, what)
        if len(values) not in (0, channels) or not all(math.isfinite(value) for value in values):
            raise UserError(f"{what} must be a number for each of {channels} channels, or none, but got {list(values)}")

"""The images and labels that a network is exported with, looked at before anything is written."""

from typing import Any

import torch
from torch import Tensor

from qtrain.errors import UserError


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

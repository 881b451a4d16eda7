"""FINN folders for tests of what comes after the export."""

from pathlib import Path

import torch
from torch import Tensor, nn

from qtrain.data import load_data
from qtrain.export import export_finn
from qtrain.models import build_model


def export_cnv(network: str, out: Path, images: int) -> Path:
    """Export a narrow CNV for Pynq-Z1 whose statistics have moved, proven on real digits."""
    data = load_data("digits")
    torch.manual_seed(0)
    model = build_model(network, width=0.125)
    for batch in data.train.images.split(64)[:4]:
        model(batch.float() / 255)
    export_finn(model, out, pixels=data.test.images[:images], labels=data.test.labels[:images], board="Pynq-Z1")
    return out


def moved_tfc(images: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Build the smallest fully connected network, its statistics moved, with test images and labels for it."""
    data = load_data("digits")
    train, test = (part.images[:, :, 2:30, 2:30] for part in (data.train, data.test))
    torch.manual_seed(0)
    model = build_model("TFC_1W1A")
    model(train[:64].float() / 255)
    return model, test[:images], data.test.labels[:images]


def export_tfc(out: Path, images: int) -> Path:
    """Export that likewise: the compiler takes a third of the time for it."""
    model, pixels, labels = moved_tfc(images)
    export_finn(model, out, pixels=pixels, labels=labels, board="Pynq-Z1")
    return out

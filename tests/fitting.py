"""Real digits in the shape that a family of networks takes."""

from dataclasses import replace

from torch.nn import functional as F

from qtrain.data import DataSet, Split
from qtrain.models import FAMILIES, parse_name

DIGITS = (3, 32, 32)
# Of families that have no use for images of this shape: a small shape of theirs.
OTHERS = {"VGG10_RADIOML": (2, 128, 1)}


def shape_for(network: str) -> tuple[int, int, int]:
    """Return the shape in which a network is tried: that of the digits wherever it takes them."""
    return OTHERS.get(parse_name(network).family, DIGITS)


def takes_digits(family: str) -> bool:
    """Whether a family takes the digits as they are."""
    return family in FAMILIES and family not in OTHERS


def fitting(data: DataSet, network: str) -> DataSet:
    """Return the digits as a network takes them: as they are, or as so many grey pixels in its shape."""
    shape = shape_for(network)
    if shape == DIGITS:
        return data

    def reshaped(split: Split) -> Split:
        grey = split.images.float().mean(1, keepdim=True)
        pixels = F.interpolate(grey, size=(16, 16), mode="area").round().to(split.images.dtype)
        return Split(pixels.reshape(-1, *shape), split.labels)

    parts = {name: reshaped(getattr(data, name)) for name in ("train", "validation", "test")}
    return replace(data, **parts)

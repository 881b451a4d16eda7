"""From an image file to uint8 pixels: the crops that ImageNet networks are trained and tested with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from qtrain.data.image_file import image_file

CROP = 224
RESIZED = 256  # the shorter side of a test image before its centre is cropped
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_ATTEMPTS = 10

Box = tuple[int, int, int, int]


def random_box(rng: np.random.Generator, width: int, height: int) -> Box:
    """Draw the part of an image that a training step shows.

    Its area is 8 to 100 % of the image's and its aspect ratio 3/4 to 4/3, uniform in the logarithm. After ten draws
    that do not fit: the largest part around the centre with an allowed ratio.

    Args:
        rng: to draw from.
        width: of the image, in pixels.
        height: likewise.

    Returns:
        Left, top, right and bottom, within the image.

    Source: Szegedy et al., "Going Deeper with Convolutions", Section 6; torchvision's RandomResizedCrop.
    """
    for _ in range(_ATTEMPTS):
        area = width * height * rng.uniform(*_AREA)
        aspect = math.exp(rng.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
        w = round(math.sqrt(area * aspect))
        h = round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(0, width - w + 1))
            top = int(rng.integers(0, height - h + 1))
            return left, top, left + w, top + h
    w = max(1, min(width, round(height * _ASPECT[1])))
    h = max(1, min(height, round(width / _ASPECT[0])))
    left = (width - w) // 2
    top = (height - h) // 2
    return left, top, left + w, top + h


def training_pixels(path: str, rng: np.random.Generator) -> Tensor:
    """Read an image and return a random part of it, uint8 [3, CROP, CROP].

    Raises:
        UserError: the file is not an image, or damaged.
    """
    image = _open(path)
    return _pixels(image.resize((CROP, CROP), Image.Resampling.BILINEAR, box=random_box(rng, *image.size)))


def centre_pixels(path: str) -> Tensor:
    """Read an image, resize its shorter side to RESIZED and return its centre, uint8 [3, CROP, CROP].

    Raises:
        UserError: the file is not an image, or damaged.
    """
    image = _open(path)
    scale = RESIZED / min(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
    left = (image.width - CROP) // 2
    top = (image.height - CROP) // 2
    return _pixels(image.crop((left, top, left + CROP, top + CROP)))


@dataclass(frozen=True)
class ImageNetImages:
    """How ImageNet's files become pixels.

    Attributes:
        height: of every image, in pixels.
        width: likewise.
        channels: always 3.
    """

    height: int = CROP
    width: int = CROP
    channels: int = 3

    def centre(self, path: str) -> Tensor:
        """Read an image as an evaluation shows it; see ``centre_pixels``."""
        return centre_pixels(path)

    def part(self, path: str, rng: np.random.Generator) -> Tensor:
        """Read a random part of an image; see ``training_pixels``."""
        return training_pixels(path, rng)


IMAGENET = ImageNetImages()


def _open(path: str) -> Image.Image:
    with image_file(path) as image:
        return image.convert("RGB")  # decodes; ImageNet holds some grey and CMYK images


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image, np.uint8)).permute(2, 0, 1)

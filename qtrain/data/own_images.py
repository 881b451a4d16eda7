"""An image file of one's own as bytes: its orientation, its transparency, its depth, its size; nothing is clipped.

- A photo is turned as its EXIF tag says. A transparent image is laid on black. A palette becomes its colours.
- 16-bit grey values keep their range: 0 to 65535, or the range that is declared, becomes 0 to 255. Values in floating
  point, or of 32 bits, need a declared range, and one outside it is refused.
- A size that differs from the wanted one is brought to it by scaling the shorter side, then cutting around the centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from qtrain.data.crop import random_box
from qtrain.data.image_file import image_file
from qtrain.errors import UserError

GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_COLOUR = ("RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "P", "PA")
_WORD = (0.0, 65535.0)


@dataclass(frozen=True)
class OwnImages:
    """How files of one's own become pixels.

    Attributes:
        height: of every image, in pixels.
        width: likewise.
        channels: 1 or 3.
        value_range: what the bytes 0 and 255 stand for in images of more than 8 bits; None for 0 to 65535.
    """

    height: int
    width: int
    channels: int
    value_range: tuple[float, float] | None = None

    def centre(self, path: str) -> Tensor:
        """Read an image as an evaluation shows it, uint8 [C, H, W].

        Raises:
            UserError: the file is no image, damaged, or of a kind that would lose its range.
        """
        image = self._open(path)
        if image.size != (self.width, self.height):
            image = ImageOps.fit(image, (self.width, self.height), Image.Resampling.BILINEAR)
        return _tensor(image)

    def part(self, path: str, rng: np.random.Generator) -> Tensor:
        """Read a random part of an image, as ``crop.random_box`` draws it, uint8 [C, H, W].

        Raises:
            UserError: as ``centre`` does.
        """
        image = self._open(path)
        box = random_box(rng, *image.size)
        return _tensor(image.resize((self.width, self.height), Image.Resampling.BILINEAR, box=box))

    def _open(self, path: str) -> Image.Image:
        with image_file(path) as image:
            image.load()
            turned = ImageOps.exif_transpose(image)
            return _to_mode(turned, "L" if self.channels == 1 else "RGB", self.value_range, path)


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before it is decoded.

    Attributes:
        height: in pixels, as the EXIF tag turns it.
        width: likewise.
        mode: Pillow's.
    """

    height: int
    width: int
    mode: str

    @property
    def is_grey(self) -> bool:
        """Whether it has no colours."""
        return self.mode in GREY

    @property
    def is_deep(self) -> bool:
        """Whether it has more than 8 bits a value."""
        return self.mode in _DEEP


def read_header(path: str) -> Header:
    """Read what an image says of itself.

    Raises:
        UserError: the file is no image, or several in one.
    """
    with image_file(path) as image:
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # orientations that swap the sides
        frames = getattr(image, "n_frames", 1)
        mode = image.mode
    if frames > 1:
        raise UserError(f"{path} holds {frames} images in one file; save each as a file of its own")
    return Header(width, height, mode) if turned else Header(height, width, mode)


def _to_mode(image: Image.Image, mode: str, value_range: tuple[float, float] | None, path: str) -> Image.Image:
    """Bring an image to bytes of one or three channels."""
    if image.mode in _DEEP:
        image = _scaled(image, value_range, path)
    elif image.mode not in (*GREY, *_COLOUR):
        raise UserError(f"{path} is an image of mode {image.mode}, which is not read; save it as grey, RGB or palette")
    if "transparency" in image.info or image.mode in ("LA", "La", "RGBA", "RGBa", "PA"):
        opaque = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, opaque)
    elif image.mode in ("P", "CMYK", "YCbCr", "HSV", "RGBX"):
        image = image.convert("RGB")
    return image.convert(mode)


def _scaled(image: Image.Image, value_range: tuple[float, float] | None, path: str) -> Image.Image:
    """Bring values of more than 8 bits to bytes on a line, so that none is clipped."""
    values = np.asarray(image).astype(np.float64)
    if value_range is None and image.mode == "F":
        raise UserError(f"{path} holds floating-point values; say what range they have, with --value-range=LOW,HIGH")
    low, high = value_range or _WORD
    found = (float(values.min()), float(values.max()))
    if not low <= found[0] <= found[1] <= high:
        raise UserError(
            f"{path} holds values from {found[0]:g} to {found[1]:g}, outside the range {low:g} to {high:g}; give a "
            "wider one with --value-range=LOW,HIGH"
        )
    bytes_ = np.rint((values - low) * (255 / (high - low))).astype(np.uint8)
    return Image.fromarray(bytes_)


def _tensor(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image, np.uint8))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)

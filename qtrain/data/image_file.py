"""One way to open an image of anybody's: a plain file, of a format that is meant, of a size that fits the memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from PIL import Image

from qtrain.errors import UserError, is_out_of_files
from qtrain.records.plain_files import open_plain

# Pillow tells a format by a file's bytes, whatever its name; for some of the others it runs a program.
_FORMATS = ("BMP", "DIB", "JPEG", "PNG", "TIFF", "WEBP")


@contextmanager
def image_file(path: str) -> Iterator[Image.Image]:
    """Open an image; inside, whatever decoding it raises is the file's.

    Args:
        path: of the file.

    Raises:
        UserError: it is no plain file, no image, damaged, or of so many pixels that Pillow warns of it.
    """
    try:
        with open_plain(path) as file, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_known_formats()) as image:
                yield image
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly any over damaged bytes
        if is_out_of_files(error):
            raise
        raise UserError(f"{path} cannot be read as an image ({_reason(error)}); replace it or take it out") from None


@cache
def _known_formats() -> tuple[str, ...]:
    """Return those that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _reason(error: BaseException) -> str:
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    if "cannot identify image file" in text:  # with the address of an object
        return "it is none that is known"
    return text or type(error).__name__

"""Reading GTSRB's lists and images, on disk or inside the published archives."""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from qtrain.errors import UserError
from qtrain.records.plain_files import read_plain

SIDE = 32
_MOST = 1 << 24  # bytes of a list or image
Tree = Path | zipfile.Path
_COLUMNS = ("Filename", "Width", "Height", "ClassId")
_NAME = re.compile(r"[0-9_]+\.ppm")  # so that no list can name a file elsewhere
_LARGEST = 1000  # pixels a side; the published images have 15 to 250


@dataclass(frozen=True)
class Sign:
    """A row of a list.

    Attributes:
        name: of the image, beside the others of its folder.
        size: width and height in pixels.
        label: of its class.
    """

    name: str
    size: tuple[int, int]
    label: int


def read_list(path: Tree, help_text: str) -> list[Sign]:
    """Read a list of images: ``Filename;Width;Height;Roi.X1;...;ClassId``, whose box of the sign is not used.

    Raises:
        UserError: the list is missing, lacks a column or has a damaged row.
    """
    rows = csv.DictReader(io.StringIO(_bytes(path, help_text).decode("ascii", "replace")), delimiter=";")
    lacking = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if lacking:
        raise UserError(f"{path} has no column {', '.join(lacking)}; {help_text}")
    signs = []
    for row in rows:
        try:
            sign = Sign(row["Filename"], (int(row["Width"]), int(row["Height"])), int(row["ClassId"]))
        except (TypeError, ValueError):
            raise UserError(f"{path} is damaged in line {rows.line_num}; {help_text}") from None
        if not _NAME.fullmatch(sign.name) or sign.label < 0 or not 0 < min(sign.size) <= max(sign.size) <= _LARGEST:
            raise UserError(f"{path} is damaged in line {rows.line_num}; {help_text}")
        signs.append(sign)
    return signs


def read_signs(folder: Tree, signs: Sequence[Sign], help_text: str) -> np.ndarray:
    """Return the images of a list, uint8 [N, 3, 32, 32]: each whole, resized with bilinear weights.

    Raises:
        UserError: an image is missing, damaged, or of another size than the list says.
    """
    pixels = np.empty((len(signs), 3, SIDE, SIDE), np.uint8)
    for place, sign in zip(pixels, signs, strict=True):
        path = folder / sign.name
        raw = _bytes(path, help_text)
        try:
            with Image.open(io.BytesIO(raw), formats=("PPM",)) as image:
                size = image.size
                if size == sign.size:
                    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            why = " ".join(str(error).split("<")[0].split())
            raise UserError(f"{path} is damaged ({why}); {help_text}") from error
        if size != sign.size:
            found, wanted = (f"{width}x{height}" for width, height in (size, sign.size))
            raise UserError(f"{path} is foreign: it has {found} pixels, but its list says {wanted}; {help_text}")
        place[:] = np.asarray(small).transpose(2, 0, 1)
    return pixels


def _bytes(path: Tree, help_text: str) -> bytes:
    try:
        return read_plain(path, _MOST) if isinstance(path, Path) else path.read_bytes()
    except (FileNotFoundError, KeyError) as error:
        raise UserError(f"{path} is missing; {help_text}") from error
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}); {help_text}") from error

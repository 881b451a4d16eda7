"""How data of one's own are read: size, channels, layout and range, as a recipe has them. Nothing here needs torch."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from qtrain.errors import UserError, did_you_mean

Layout = Literal["NCHW", "NHWC", "NHW", "NCL", "NF"]
LAYOUTS: dict[str, str] = {
    "NCHW": "images, channels first",
    "NHWC": "images, channels last",
    "NHW": "images of one channel",
    "NCL": "signals of C channels and L samples",
    "NF": "rows of F features",
}
KINDS = ("crop", "flip", "noise")
_SIZE = re.compile(r"(\d+)(?:x(\d+))?")


@dataclass(frozen=True)
class DataOptions:
    """What is said of data of one's own; of a published set nothing needs to be said.

    Attributes:
        image_size: height and width that images of a folder are brought to; None takes them as they are.
        channels: 1 or 3 for a folder of images; for arrays what they must have. None takes what is found.
        layout: of arrays, one of ``LAYOUTS``.
        value_range: what the bytes 0 and 255 stand for, where values are no bytes.

    Raises:
        UserError: a value of another kind, or out of range.
    """

    image_size: tuple[int, int] | None = None
    channels: int | None = None
    layout: Layout | None = None
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        size = self.image_size
        if size is not None and not (isinstance(size, tuple) and len(size) == 2 and all(map(_is_count, size))):
            raise UserError(f"image_size must be height and width in pixels, such as (48, 48), but got {size!r}")
        if self.channels is not None and not _is_count(self.channels):
            raise UserError(f"channels must be a whole number, 1 or more, but got {self.channels!r}")
        if self.layout is not None and self.layout not in LAYOUTS:
            raise UserError(f"layout must be one of {', '.join(LAYOUTS)}, but got {self.layout!r}")
        parse_range(self.value_range)

    def given(self) -> list[str]:
        """Return the names of what is said, as options have them."""
        return [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def parse_size(value: Any) -> tuple[int, int] | None:
    """Read ``48`` or ``32x64``, height before width; None for None.

    Raises:
        UserError: something else.
    """
    if value is None:
        return None
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value).strip())
    height = int(match[1]) if match else 0
    width = int(match[2] or match[1]) if match else 0
    if height < 1 or width < 1:
        raise UserError(f"image_size must be pixels such as 48, or height x width such as 32x64, but got {value!r}")
    return height, width


def parse_range(value: Any) -> tuple[float, float] | None:
    """Read ``-1,1`` or a pair of numbers, the lower first; None for None.

    Raises:
        UserError: something else.
    """
    if value is None:
        return None
    parts: Any = value.strip("[]() ").split(",") if isinstance(value, str) else value
    try:
        low, high = (float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        low, high = 0.0, 0.0
    if not -float("inf") < low < high < float("inf"):
        raise UserError(f"value_range must be two numbers, the lower first, such as -1,1, but got {value!r}")
    return low, high


PLAIN = DataOptions()


def parse_kinds(text: str) -> tuple[str, ...]:
    """Read ``crop,flip`` or ``none``: kinds of augmentation.

    Raises:
        UserError: an unknown kind, or one twice.
    """
    if text.strip().lower() == "none":
        return ()
    kinds = tuple(part.strip() for part in text.split(","))
    if not set(kinds) <= set(KINDS) or len(set(kinds)) < len(kinds):
        unknown = next((part for part in kinds if part not in KINDS), "")
        raise UserError(
            f"augmentation must be none, or some of {', '.join(KINDS)}, each once, but got {text!r}"
            f"{did_you_mean(unknown, ('none', *KINDS))}"
        )
    return kinds

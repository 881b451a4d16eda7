"""Shapes of what networks read: always [channels, height, width], whether it is an image, a signal or a row.

A signal of L samples is L x 1 pixels high and wide, a row of F features is F channels of one pixel.
"""

from collections.abc import Sequence
from numbers import Integral

from qtrain.errors import UserError

Size = int | tuple[int, int]


def height_and_width(size: Size) -> tuple[int, int]:
    """Return a size as (height, width); one number is both."""
    if isinstance(size, tuple):
        return size
    return size, size


def check_size(network: str, size: object, smallest: Size, *, rectangular: bool) -> Size:
    """See that a network takes images of a size.

    Args:
        network: as errors call it.
        size: one number of pixels, or (height, width).
        smallest: that the network's pools take, likewise.
        rectangular: whether height and width may differ.

    Returns:
        (height, width) of a rectangular network, one number of the others.

    Raises:
        UserError: the size is neither, smaller, or not square for a network that takes square images.
    """
    pair = _pair(size)
    least = height_and_width(smallest)
    if pair is not None and not rectangular and pair[0] != pair[1]:
        raise UserError(
            f"{network} takes square images, but got image_size {pair[0]}x{pair[1]}; give it square ones, or take a "
            "network for any height and width, such as MLP"
        )
    if pair is None or pair[0] < least[0] or pair[1] < least[1]:
        forms = "a whole number or (height, width)" if rectangular else "a whole number"
        words = smallest if isinstance(smallest, int) else f"{least[0]}x{least[1]}"
        raise UserError(f"image_size of {network} must be {forms}, {words} pixels or more, but got {size!r}")
    return pair if rectangular else pair[0]


def _pair(size: object) -> tuple[int, int] | None:
    """Return (height, width) of what may be a size, None where it is none."""
    given: Sequence[object] = (size, size)
    if isinstance(size, Sequence) and not isinstance(size, str):
        given = size
    whole = [int(part) for part in given if isinstance(part, Integral) and not isinstance(part, bool)]
    if len(given) != 2 or len(whole) != 2:
        return None
    return whole[0], whole[1]

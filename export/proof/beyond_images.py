"""Images that no test set holds: what a change of the graph shows itself on though every test image looks right.

All but those near a boundary are made of the test images and a seed by rules that give the same bytes everywhere, so
that whoever verifies makes them anew instead of taking them from the folder.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qtrain.export.execute.executor import Executor

# Values of an image, above which fewer images are made.
LARGE = 3 * 64 * 64
HUGE = 3 * 512 * 512
_COUNTS = {"noise": 48, "binary": 48, "permuted": 24, "bright": 24, "spotted": 24, "contrast": 12, "inverted": 12}
PAIRS = 12


def _few(count: int, shape: tuple[int, ...]) -> int:
    values = int(np.prod(shape))
    if values > HUGE:
        return 1
    return count if values <= LARGE else max(4, count // 4)


class _Draw:
    """Numbers from a seed by SHAKE-256: the same on every machine and with every version of everything."""

    def __init__(self, seed: str):
        self._seed = seed

    def bytes(self, what: str, *shape: int) -> np.ndarray:
        """Uniform uint8 of a shape."""
        count = int(np.prod(shape))
        drawn = hashlib.shake_256(f"{self._seed} {what}".encode()).digest(count)
        return np.frombuffer(drawn, np.uint8).reshape(shape)

    def below(self, limit: int, what: str, count: int) -> np.ndarray:
        """Whole numbers from 0 to ``limit`` - 1."""
        return self._keys(what, count) % np.uint64(limit)

    def order(self, what: str, count: int) -> np.ndarray:
        """A permutation of 0 to ``count`` - 1."""
        return np.argsort(self._keys(what, count), kind="stable")

    def _keys(self, what: str, count: int) -> np.ndarray:
        return np.frombuffer(self.bytes(what, 8 * count).tobytes(), "<u8")


def drawn_images(seed: str, pixels: Tensor) -> Tensor:
    """Make images that ``pixels`` do not hold: uint8 [M, C, H, W], about two hundred, fewer where they are large.

    Uniform noise; noise of 0 and 255 alone, half of which shows any single pixel's secret; test images with their
    values permuted, with one pixel turned to 0 or 255, with full contrast, and inverted; one bright pixel on black, the
    corners among them; images of one colour.

    Args:
        seed: any text.
        pixels: the test images, uint8 [N, C, H, W].
    """
    draw = _Draw(seed)
    shape = tuple(pixels.shape[1:])
    counts = {name: _few(count, shape) for name, count in _COUNTS.items()}
    test = pixels.numpy()

    def some(what: str) -> np.ndarray:
        return test[draw.below(len(test), f"{what} images", counts[what]).astype(np.int64)].copy()

    noise = draw.bytes("noise", counts["noise"], *shape)
    binary = np.where(draw.bytes("binary", counts["binary"], *shape) > 127, 255, 0)
    permuted = some("permuted")
    for number, image in enumerate(permuted):
        image.flat = image.ravel()[draw.order(f"permutation {number}", image.size)]
    contrast = np.where(some("contrast") > 127, 255, 0)
    parts = [noise, binary, permuted, contrast, 255 - some("inverted"), _flat(shape)]
    parts += [_bright(draw, shape, counts["bright"]), _spotted(draw, some("spotted"))]
    return torch.from_numpy(np.concatenate([part.astype(np.uint8) for part in parts]))


def _flat(shape: tuple[int, ...]) -> np.ndarray:
    """Images of one colour: black, white, the two middles, each channel alone."""
    images = [np.full(shape, value) for value in (0, 255, 127, 128)]
    for channel in range(shape[0] if shape[0] > 1 else 0):
        image = np.zeros(shape, int)
        image[channel] = 255
        images.append(image)
    return np.stack(images)


def _corners(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(y, x) for y in (0, shape[1] - 1) for x in (0, shape[2] - 1)]


def _bright(draw: _Draw, shape: tuple[int, ...], count: int) -> np.ndarray:
    """One pixel of 255 on black: the corners in all channels, then single values anywhere, the first one's first."""
    images = np.zeros((4 + count, *shape), int)
    for image, (y, x) in zip(images, _corners(shape), strict=False):
        image[:, y, x] = 255
    places = draw.below(int(np.prod(shape)), "bright places", count)
    places[:1] = 0
    for image, place in zip(images[4:], places, strict=True):
        image.flat[int(place)] = 255
    return images


def _spotted(draw: _Draw, images: np.ndarray) -> np.ndarray:
    """Test images with one pixel of the other extreme in all channels, a corner in the first ones."""
    height, width = images.shape[2:]
    places = draw.below(height * width, "spotted places", len(images)).astype(np.int64)
    anywhere = [(int(place // width), int(place % width)) for place in places]
    for image, (y, x) in zip(images, _corners(images.shape[1:]) + anywhere, strict=False):
        image[:, y, x] = np.where(image[:, y, x] > 127, 0, 255)
    return images


@dataclass(frozen=True)
class Pairs:
    """Images beside a boundary of a quantizer.

    Attributes:
        images: uint8 [2 * pairs, C, H, W]; two that follow each other differ by one grey level of one value.
        tensors: for each pair the quantizer's output that differs between the two.
    """

    images: Tensor
    tensors: tuple[str, ...]


def boundary_pairs(executor: Executor, outputs: list[str], seed: str, pixels: Tensor) -> Pairs:
    """Search pairs of images with a quantizer's boundary between them.

    From one image to another the values change one grey level after the other. Where a quantizer's value differs
    between the two ends, bisection finds one step of the way at which it changes.

    Args:
        executor: of the exported graph.
        outputs: of its activation quantizers, in order.
        seed: any text.
        pixels: the test images, uint8 [N, C, H, W].
    """
    draw = _Draw(seed)
    shape = tuple(pixels.shape[1:])
    count = _few(PAIRS, shape) if outputs else 0
    if not count:
        return Pairs(pixels[:0], ())
    names = [outputs[-1 - number % len(outputs)] for number in range(count)]  # the last ones have fewest positions
    starts = pixels[torch.from_numpy(draw.below(len(pixels), "pair images", count).astype(np.int64))]
    ends = torch.from_numpy(draw.bytes("pair noise", count, *shape).copy())
    order = torch.from_numpy(draw.order("pair order", starts[0].numel()))
    ways = [_Way(start, end, order) for start, end in zip(starts, ends, strict=True)]
    first = _values(executor, names, starts)
    last = _values(executor, names, ends)
    chosen = [_differing(a, b, draw, number) for number, (a, b) in enumerate(zip(first, last, strict=True))]
    low = [0] * count
    high = [way.length for way in ways]
    while any(b - a > 1 for a, b in zip(low, high, strict=True)):
        middle = [(a + b) // 2 for a, b in zip(low, high, strict=True)]
        values = _values(executor, names, torch.stack([way.at(t) for way, t in zip(ways, middle, strict=True)]))
        for number, place in enumerate(chosen):
            if high[number] - low[number] <= 1:
                continue
            if place is None or values[number][place] == first[number][place]:
                low[number] = middle[number]
            else:
                high[number] = middle[number]
    kept = [number for number, place in enumerate(chosen) if place is not None]
    images = [ways[number].at(t) for number in kept for t in (low[number], high[number])]
    return Pairs(torch.stack(images) if images else pixels[:0], tuple(names[number] for number in kept))


def _values(executor: Executor, names: list[str], images: Tensor) -> list[Tensor]:
    """For each image its own tensor's values, flat."""
    found = executor(images, keep=set(names))
    return [found[name][number].flatten() for number, name in enumerate(names)]


def _differing(first: Tensor, last: Tensor, draw: _Draw, number: int) -> int | None:
    places = (first != last).nonzero().flatten()
    return int(places[int(draw.below(len(places), f"neuron {number}", 1)[0])]) if len(places) else None


class _Way:
    """From one image to another, one grey level of one value at a time, in a given order of the values."""

    def __init__(self, start: Tensor, end: Tensor, order: Tensor):
        self._start = start
        self._order = order
        self._change = (end.int() - start.int()).flatten()[order]
        self._ends = self._change.abs().cumsum(0)
        self.length = int(self._ends[-1])

    def at(self, step: int) -> Tensor:
        """The image after so many steps."""
        taken = (step - (self._ends - self._change.abs())).clamp(min=0).minimum(self._change.abs())
        image = self._start.int().flatten().clone()
        image[self._order] += self._change.sign() * taken.int()
        return image.to(torch.uint8).view_as(self._start)

"""Crop, flip and conversion of a batch by numbers that lie on the device, as one operator of torch.

``torch.ops.qtrain.crop_flip`` takes the rows of an epoch's table from a position on, which is a tensor too: nothing in
it changes from step to step but what lies in memory, so that a CUDA graph can hold it.
"""

import torch
from torch import Tensor
from torch.library import Library

from qtrain.triton_kernels import Checks, trusted

ROOM = "that crop and flip"
INDEX, ROW, COLUMN, MIRRORED = range(4)  # columns of the table
LAUNCHES = 1

_library = Library("qtrain", "FRAGMENT")
_library.define(
    "crop_flip(Tensor padded, Tensor labels, Tensor table, Tensor position, int count, int height, int width) "
    "-> (Tensor, Tensor)"
)


def plain(
    padded: Tensor, labels: Tensor, table: Tensor, position: Tensor, count: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Return images, float32 [count, C, height, width] in [0, 1], and labels, int64 [count].

    Args:
        padded: uint8 [N, C, ...], images with their padding.
        labels: int64 [N].
        table: int32 [N, 4]: an image's index, row and column of its crop in the padded image, and 1 where it is
            mirrored, in the order in which images are shown.
        position: int64 [], the first row to show.
        count: images to show.
        height: of a crop.
        width: of a crop.
    """
    device = padded.device
    rows = table.index_select(0, position + torch.arange(count, device=device)).long()
    index, top, left, mirrored = rows.unbind(1)
    column = torch.arange(width, device=device)
    y = top[:, None] + torch.arange(height, device=device)
    x = left[:, None] + torch.where(mirrored[:, None] > 0, column.flip(0), column)
    channel = torch.arange(padded.shape[1], device=device)
    bytes_ = padded[index[:, None, None, None], channel[:, None, None], y[:, None, :, None], x[:, None, None, :]]
    return bytes_.float().div_(255), labels.index_select(0, index)


def _compute(padded: Tensor, labels: Tensor, *more: object) -> tuple[Tensor, Tensor]:
    if not trusted(ROOM, padded.device):
        return plain(padded, labels, *more)  # type: ignore[arg-type]
    from qtrain.data import crop_kernels

    return crop_kernels.crop_flip(padded, labels, *more)  # type: ignore[arg-type]


def _shape(
    padded: Tensor, labels: Tensor, table: Tensor, position: Tensor, count: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    images = padded.new_empty((count, padded.shape[1], height, width), dtype=torch.float32)
    return images, labels.new_empty(count)


_library.impl("crop_flip", _compute, "CompositeExplicitAutograd")
_library.impl("crop_flip", _shape, "Meta")


def comparisons(device: torch.device) -> Checks:
    """Run the kernel and its plain form; yield what was compared, and whether they agree to the bit."""
    from qtrain.data import crop_kernels

    padded = torch.randint(0, 256, (20, 3, 12, 11), dtype=torch.uint8).to(device)
    labels = torch.arange(20, device=device)
    drawn = [torch.randperm(20), torch.randint(0, 5, (20,)), torch.randint(0, 4, (20,)), torch.randint(0, 2, (20,))]
    table = torch.stack(drawn, 1).int().to(device)
    for start, count in ((0, 8), (8, 12)):
        given = padded, labels, table, torch.tensor(start, device=device), count, 8, 8
        found = [form(*given) for form in (plain, crop_kernels.crop_flip)]
        yield f"crop_flip from {start} on", all(torch.equal(*pair) for pair in zip(*found, strict=True))

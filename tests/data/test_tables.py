"""Batches from tables on the device are the batches, to the bit."""

import pytest
import torch

from qtrain.data import Batches, Split
from qtrain.data.crop_operator import comparisons
from qtrain.data.tables import EpochTables, tables_of
from qtrain.triton_kernels import why_not
from tests.kernels import launches, trusted_cpu


def split(size: tuple[int, int] = (8, 8), channels: int = 3, count: int = 21) -> Split:
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, *size), dtype=torch.uint8, generator=drawn)
    return Split(images, torch.arange(count) % 10)


@pytest.mark.parametrize(
    ("size", "channels", "augment", "flip", "jitter", "mixup"),
    [
        ((8, 8), 3, True, True, 0.0, 0.0),
        ((8, 8), 3, True, True, 0.4, 0.0),
        ((8, 1), 2, True, False, 0.0, 0.0),
        ((9, 7), 1, False, False, 0.0, 0.0),
        ((8, 8), 3, True, True, 0.4, 0.3),
        ((9, 7), 1, False, False, 0.0, 0.3),
    ],
)
def test_tables_give_the_batches_of_every_epoch_from_any_step_on(
    size: tuple[int, int], channels: int, augment: bool, flip: bool, jitter: float, mixup: float
) -> None:
    options = {"augment": augment, "flip": flip, "jitter": jitter, "mixup": mixup}
    batches = Batches(split(size, channels), 5, seed=3, classes=10, **options)  # type: ignore[arg-type]
    tables = tables_of(batches)
    assert tables is not None
    for epoch, start in ((0, 0), (1, 2), (2, 0)):
        tables.begin(epoch, start)
        for number, (images, labels) in enumerate(batches.epoch(epoch, start), start):
            ours, own_labels = tables.read(batches.images_in(number))
            assert torch.equal(ours, images)
            assert torch.equal(own_labels, labels)
        tables.prepare(epoch + 1)


def test_what_the_host_has_to_do_has_no_tables() -> None:
    options = {"seed": 0, "augment": True, "flip": True}
    assert tables_of(Batches(split(), 5, **options, noise=0.1)) is None  # type: ignore[arg-type]
    assert tables_of(Batches(split(), 4, **options, rank=1, ranks=2)) is None  # type: ignore[arg-type]


def test_the_kernel_agrees_to_the_bit(interpreted: None) -> None:
    assert why_not(torch.device("cpu"), comparisons) is None


def test_the_kernel_reads_every_pixel_once(interpreted: None) -> None:
    batches = Batches(split(), 5, seed=0, augment=True, flip=True)
    tables = EpochTables(batches)
    tables.begin(0, 1)
    wanted = next(batches.epoch(0, 1))
    with trusted_cpu(), launches() as found:
        ours = tables.read(5)
    assert torch.equal(ours[0], wanted[0])
    assert found.kernels == {"crop_kernel": 1}
    assert found.loaded == ours[0].numel() + 5 * (1 + 4 + 1)  # pixels; each image's position, row and label

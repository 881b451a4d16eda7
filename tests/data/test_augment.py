"""Mini-batches: what is drawn, what is cropped, and that an epoch continues at any step."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qtrain.data import Batches, Split, draw_epoch, ordered_batches
from qtrain.data.augment import EpochPlan, crop_flip_gather, crop_flip_slices
from qtrain.data.jitter import colour_jitter, draw_jitter
from qtrain.errors import UserError
from tests.replay import Replay


def numbered(count: int, *, size: int = 32) -> Split:
    """Return random images whose label is their index."""
    images = torch.randint(1, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(count))
    return Split(images.to(torch.uint8), torch.arange(count))


def window(image: Tensor, y: int, x: int, mirrored: bool, pad: int) -> Tensor:
    """Return one crop from the definition: output pixel (i, j) is input pixel (i + y - pad, j + x - pad), or zero."""
    size = image.shape[-1]
    crop = torch.zeros_like(image)
    for i in range(size):
        for j in range(size):
            row, column = i + y - pad, (size - 1 - j if mirrored else j) + x - pad
            if 0 <= row < size and 0 <= column < size:
                crop[:, i, j] = image[:, row, column]
    return crop


@given(st.integers(1, 12), st.integers(0, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_gather_and_the_slices_agree_in_every_byte(count: int, pad: int, seed: int) -> None:
    split = numbered(count, size=8)
    padded = torch.nn.functional.pad(split.images, (pad,) * 4)
    plan = draw_epoch(count, seed=seed, epoch=0, pad=pad)
    arguments = (padded, plan.order, plan.offsets, plan.flips, (pad, pad))
    assert torch.equal(crop_flip_gather(*arguments), crop_flip_slices(*arguments))


def test_batches_hold_exactly_the_crops_that_the_plan_says() -> None:
    split = numbered(10)
    batches = Batches(split, 4, seed=5, augment=True, flip=True)
    plan = batches.plan(epoch=3)
    images = torch.cat([images for images, _ in batches.epoch(3)])
    for shown, index in enumerate(plan.order.tolist()):
        y, x = plan.offsets[shown].tolist()
        expected = window(split.images[index], y, x, bool(plan.flips[shown]), pad=4)
        assert torch.equal(images[shown], expected.float() / 255)


def test_crops_reach_every_corner_and_pad_with_zeros() -> None:
    split = numbered(1)
    padded = torch.nn.functional.pad(split.images, (4,) * 4)
    plan = draw_epoch(20_000, seed=0, epoch=0)
    assert len(set(map(tuple, plan.offsets.tolist()))) == 81
    index, corner = torch.tensor([0, 0]), torch.tensor([[0, 0], [8, 8]])
    crops = crop_flip_slices(padded, index, corner, torch.tensor([False, False]), (4, 4))
    assert int(crops[0, :, :4].max()) == int(crops[0, :, :, :4].max()) == 0
    assert int(crops[1, :, -4:].max()) == int(crops[1, :, :, -4:].max()) == 0
    assert torch.equal(crops[0, :, 4:, 4:], split.images[0, :, :28, :28])


def test_offsets_and_flips_are_uniform() -> None:
    plan = draw_epoch(81_000, seed=0, epoch=0)
    cells = (plan.offsets[:, 0] * 9 + plan.offsets[:, 1]).bincount(minlength=81)
    assert cells.sum() == 81_000
    chi_square = float(((cells - 1000) ** 2 / 1000).sum())
    assert chi_square < 140  # 80 degrees of freedom: above with probability 4e-5
    assert abs(int(plan.flips.sum()) - 40_500) < 700  # five standard deviations
    correlation = torch.corrcoef(torch.stack([plan.offsets[:, 0].double(), plan.flips.double(), plan.order.double()]))
    assert float(correlation.triu(1).abs().max()) < 0.02


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("count", [100, 101, 105])
def test_an_epoch_continues_at_any_step_with_the_same_bits(augment: bool, drop_last: bool, count: int) -> None:
    def batches() -> Batches:
        return Batches(numbered(count), 10, seed=7, augment=augment, flip=True, drop_last=drop_last)

    whole = list(batches().epoch(2))
    assert len(whole) == len(batches())
    for start in range(len(whole) + 1):
        resumed = list(batches().epoch(2, start))
        assert len(resumed) == len(whole) - start
        for (images, labels), (expected_images, expected_labels) in zip(resumed, whole[start:], strict=True):
            assert torch.equal(images, expected_images)
            assert torch.equal(labels, expected_labels)


def test_batches_ignore_and_leave_torchs_global_random_state_alone() -> None:
    batches = Batches(numbered(20), 5, seed=0, augment=True, flip=True)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = [labels.tolist() for _, labels in batches.epoch(0)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert [labels.tolist() for _, labels in batches.epoch(0)] == first


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(draw_epoch(50, seed=seed, epoch=epoch).order.tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_the_order_of_the_images_does_not_depend_on_the_augmentation() -> None:
    split = numbered(30)
    plain = Batches(split, 7, seed=1, augment=False, flip=True)
    augmented = Batches(split, 7, seed=1, augment=True, flip=False, pad=2)
    assert torch.equal(plain.plan(4).order, augmented.plan(4).order)


@pytest.mark.parametrize(
    ("count", "sizes", "sizes_dropped"),
    [
        (20, [10, 10], [10, 10]),
        (25, [10, 10, 5], [10, 10]),
        (21, [10, 11], [10, 10]),
        (22, [10, 10, 2], [10, 10]),
        (11, [11], [10]),
    ],
)
def test_every_image_is_shown_once_and_never_alone(count: int, sizes: list[int], sizes_dropped: list[int]) -> None:
    split = numbered(count)
    shown = [labels for _, labels in Batches(split, 10, seed=0, augment=True, flip=True).epoch(0)]
    assert [len(labels) for labels in shown] == sizes
    assert torch.equal(torch.cat(shown).sort().values, split.labels)
    dropped = Batches(split, 10, seed=0, augment=True, flip=True, drop_last=True)
    assert [len(labels) for _, labels in dropped.epoch(0)] == sizes_dropped


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    batches = Batches(numbered(3), 10, seed=0, augment=False, flip=False)
    assert [len(labels) for _, labels in batches.epoch(0)] == [3]


def test_without_augmentation_images_are_only_shuffled() -> None:
    split = numbered(12)
    for images, labels in Batches(split, 5, seed=0, augment=False, flip=True).epoch(1):
        assert images.dtype == torch.float32
        assert torch.equal(images, split.images[labels].float() / 255)


def test_without_flip_no_image_is_mirrored_and_with_it_half_are() -> None:
    split = numbered(1000, size=4)
    assert not Batches(split, 10, seed=0, augment=True, flip=False).plan(0).flips.any()
    assert 400 < int(Batches(split, 10, seed=0, augment=True, flip=True).plan(0).flips.sum()) < 600


def test_flips_without_padding_work() -> None:
    split = numbered(6, size=4)
    batches = Batches(split, 6, seed=0, augment=True, flip=True, pad=0)
    plan = batches.plan(0)
    assert 0 < int(plan.flips.sum()) < 6
    images, _ = next(batches.epoch(0))
    for shown, index in enumerate(plan.order.tolist()):
        expected = window(split.images[index], 0, 0, bool(plan.flips[shown]), pad=0)
        assert torch.equal(images[shown], expected.float() / 255)


def test_ordered_batches_show_every_image_once_in_order() -> None:
    split = numbered(21)
    shown = list(ordered_batches(split, 10))
    assert [len(labels) for _, labels in shown] == [10, 10, 1]
    assert torch.equal(torch.cat([images for images, _ in shown]), split.images.float() / 255)
    assert torch.equal(torch.cat([labels for _, labels in shown]), split.labels)


@pytest.mark.parametrize(
    ("count", "arguments", "says"),
    [
        (10, {"batch_size": 1}, "batch_size 1 .*2 or more"),
        (10, {"batch_size": 0}, "batch_size 0 .*2 or more"),
        (1, {"batch_size": 4}, "1 training images are too few"),
        (10, {"batch_size": 11, "drop_last": True}, "10 training images are too few for batch_size 11"),
        (10, {"batch_size": 5, "pad": -1}, "pad -1"),
        (10, {"batch_size": 5, "seed": -1}, "seed -1"),
    ],
)
def test_wrong_arguments_are_answered(count: int, arguments: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Batches(numbered(count), **{"seed": 0, "augment": True, "flip": True, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(("epoch", "start"), [(0, -1), (0, 3), (-1, 0)])
def test_steps_outside_the_epoch_are_refused_at_once(epoch: int, start: int) -> None:
    batches = Batches(numbered(20), 10, seed=0, augment=True, flip=True)
    with pytest.raises(ValueError, match="2 steps"):
        batches.epoch(epoch, start)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_the_same_bits_as_the_cpu() -> None:
    split = numbered(50)
    here = Batches(split, 8, seed=3, augment=True, flip=True)
    there = Batches(split.to("cuda"), 8, seed=3, augment=True, flip=True)
    for (images, labels), (gpu_images, gpu_labels) in zip(here.epoch(1), there.epoch(1), strict=True):
        assert gpu_images.is_cuda
        assert torch.equal(gpu_images.cpu(), images)
        assert torch.equal(gpu_labels.cpu(), labels)


def test_without_jitter_batches_are_the_same_bits_and_with_it_the_same_crops() -> None:
    split = numbered(12)
    plain = Batches(split, 12, seed=4, augment=True, flip=True)
    jittered = Batches(split, 12, seed=4, augment=True, flip=True, jitter=0.4)
    (images, labels), (other, other_labels) = next(plain.epoch(2)), next(jittered.epoch(2))
    assert torch.equal(labels, other_labels)
    assert torch.equal(next(Batches(split, 12, seed=4, augment=True, flip=True, jitter=0.0).epoch(2))[0], images)
    factors = draw_jitter(12, seed=4, epoch=2, strength=0.4)
    assert torch.equal(colour_jitter(images, factors), other)
    assert not torch.equal(images, other)


def test_an_epoch_with_jitter_continues_at_any_step_with_the_same_bits() -> None:
    batches = Batches(numbered(25), 10, seed=7, augment=True, flip=True, jitter=0.4)
    whole = list(batches.epoch(1))
    for start in range(len(whole)):
        for (images, _), (expected, _) in zip(batches.epoch(1, start), whole[start:], strict=True):
            assert torch.equal(images, expected)


def test_without_augmentation_there_is_no_jitter() -> None:
    split = numbered(6)
    images, labels = next(Batches(split, 6, seed=0, augment=False, flip=True, jitter=1.0).epoch(0))
    assert torch.equal(images, split.images[labels].float() / 255)


def test_jitter_is_brightness_then_contrast_then_saturation_each_clamped() -> None:
    images = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    factors = draw_jitter(5, seed=1, epoch=0, strength=0.9).double()
    for image, (brightness, contrast, saturation), found in zip(
        images, factors.tolist(), colour_jitter(images, factors), strict=True
    ):
        pixels = (image * brightness).clamp(0, 1)
        grey = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
        pixels = (contrast * pixels + (1 - contrast) * grey.mean()).clamp(0, 1)
        grey = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
        torch.testing.assert_close(found, (saturation * pixels + (1 - saturation) * grey).clamp(0, 1))
    unchanged = colour_jitter(images, torch.ones(5, 3, dtype=torch.float64))
    torch.testing.assert_close(unchanged, images)


@pytest.mark.parametrize(("strength", "low"), [(0.4, 0.6), (1.0, 0.0)])
def test_jitters_factors_fill_their_range_and_differ_by_epoch_and_seed(strength: float, low: float) -> None:
    factors = draw_jitter(20_000, seed=0, epoch=0, strength=strength)
    assert (factors.shape, factors.dtype) == ((20_000, 3), torch.float32)
    assert low <= float(factors.min()) < low + 0.01
    assert 1 + strength - 0.01 < float(factors.max()) <= 1 + strength
    assert (factors.mean(0) - 1).abs().max() < 0.02
    others = [draw_jitter(5, seed=s, epoch=e, strength=strength) for s, e in ((0, 1), (1, 0))]
    assert not any(torch.equal(factors[:5], other) for other in others)


@pytest.mark.parametrize("jitter", [-0.1, 1.5, float("nan")])
def test_jitter_out_of_range_is_answered(jitter: float) -> None:
    with pytest.raises(UserError, match=r"jitter .* out of range; choose from 0 to 1"):
        Batches(numbered(4), 2, seed=0, augment=True, flip=True, jitter=jitter)


def test_a_device_that_works_by_itself_finds_the_next_epochs_plan_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def counted(size: int, *, epoch: int, **options: Any) -> EpochPlan:
        drawn.append(epoch)
        return draw_epoch(size, epoch=epoch, **options)

    monkeypatch.setattr("qtrain.data.augment.draw_epoch", counted)
    on_meta = Batches(numbered(20).to(torch.device("meta")), 10, seed=0, augment=True, flip=True)
    for _ in on_meta.epoch(0):
        assert drawn == [0]
    assert drawn == [0, 1]
    for _ in on_meta.epoch(1):
        assert drawn == [0, 1]
    list(on_meta.epoch(5))  # another epoch than was expected
    assert drawn == [0, 1, 2, 5, 6]


def test_jitter_copies_nothing_to_the_device_after_its_first_batch() -> None:
    cuda = Replay()
    images, factors = torch.rand(2, 3, 4, 4), torch.ones(2, 3)
    colour_jitter(images, factors)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cuda.set_sync_debug_mode("warn")
        try:
            colour_jitter(images, factors)
        finally:
            cuda.set_sync_debug_mode("default")


def test_the_padded_images_are_the_only_copy_that_batches_hold() -> None:
    split = numbered(50)
    before = split.images.clone()
    batches = Batches(split, 10, seed=0, augment=True, flip=True)
    held = [value for value in vars(batches).values() if isinstance(value, Tensor)]
    held += [batches.split.images, batches.split.labels]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in held}
    assert sum(storages.values()) == 50 * 3 * 40 * 40 + 50 * 8  # bytes of pixels, and of labels
    assert torch.equal(batches.split.images, before)
    assert torch.equal(split.images, before)


@pytest.mark.parametrize("augment", [True, False])
def test_batches_of_their_own_split_are_the_same(augment: bool) -> None:
    first = Batches(numbered(50), 10, seed=3, augment=augment, flip=True)
    second = Batches(first.split, 10, seed=3, augment=augment, flip=True)
    for (images, labels), (others, theirs) in zip(first.epoch(1), second.epoch(1), strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, theirs)
    assert first.split.moments() == numbered(50).moments()

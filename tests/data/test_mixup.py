"""Mixup: which images are paired, by which shares, and that neither a step to begin at nor ranks change a batch."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from qtrain.data import Batches, FolderSplit, Split, make_batches
from qtrain.data.augment import Batch
from qtrain.data.mixup import draw_shares, label_shares, mixed
from qtrain.errors import UserError

CLASSES = 10


def split(count: int = 21) -> Split:
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=drawn)
    return Split(images, torch.arange(count) % CLASSES)


def batches(of: Split, size: int = 5, **options: Any) -> Batches:
    values: dict[str, Any] = {"seed": 3, "augment": True, "flip": True, "jitter": 0.2, "mixup": 0.4, "classes": CLASSES}
    return make_batches(of, size, **values | options)


def test_an_image_is_mixed_with_the_one_at_the_mirrored_place_and_so_is_its_label() -> None:
    images = torch.arange(3.0)[:, None, None, None].expand(3, 1, 2, 2)
    labels = torch.tensor([0, 1, 3])
    found, shares = mixed((images, labels), (images, labels), torch.tensor(0.75), 4)
    assert found[:, 0, 0, 0].tolist() == [0.5, 1.0, 1.5]  # 0.75 * 0 + 0.25 * 2, itself, 0.75 * 2 + 0.25 * 0
    assert shares.tolist() == [[0.75, 0, 0, 0.25], [0, 1, 0, 0], [0.25, 0, 0, 0.75]]


def test_batches_are_the_plain_ones_mixed_by_the_steps_share() -> None:
    plain, ours = batches(split(), mixup=0.0), batches(split())
    shares = ours.shares(2)
    assert shares is not None
    assert shares.shape == (len(ours),)
    for step, ((images, labels), (mixture, of_each)) in enumerate(zip(plain.epoch(2), ours.epoch(2), strict=True)):
        wanted = mixed((images, labels), (images, labels), shares[step], CLASSES)
        assert torch.equal(mixture, wanted[0])
        assert torch.equal(of_each, wanted[1])
        torch.testing.assert_close(of_each.sum(1), torch.ones(len(labels)))


def test_shares_follow_seed_and_epoch_alone_and_the_beta_distribution() -> None:
    shares = draw_shares(20_000, seed=1, epoch=0, alpha=0.4)
    assert torch.equal(shares, draw_shares(20_000, seed=1, epoch=0, alpha=0.4))
    assert not torch.equal(shares, draw_shares(20_000, seed=1, epoch=1, alpha=0.4))
    assert not torch.equal(shares, draw_shares(20_000, seed=2, epoch=0, alpha=0.4))
    assert shares.dtype == torch.float32
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.005)  # of Beta(a, a)


@pytest.mark.parametrize("alpha", [0.001, 1.0, 100.0])
def test_any_alpha_that_a_recipe_may_have_gives_shares(alpha: float) -> None:
    shares = draw_shares(1000, seed=0, epoch=0, alpha=alpha)
    assert bool(((shares >= 0) & (shares <= 1)).all())


def test_labels_as_shares() -> None:
    assert label_shares(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def files(place: Path, of: Split) -> FolderSplit:
    """The same images in files."""
    for number, image in enumerate(of.images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{number}.png")
    paths = np.array([os.fsencode(place / f"{number}.png") for number in range(len(of))])
    return FolderSplit(paths, of.labels)


def equal(ours: Batch, theirs: Batch) -> bool:
    return torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("in_files", [False, True])
@pytest.mark.parametrize("start", [0, 1, 4])
def test_an_epoch_goes_on_at_any_step_with_the_same_bits(in_files: bool, start: int, tmp_path: Path) -> None:
    images = files(tmp_path, split()) if in_files else split()
    whole = list(batches(images).epoch(1))
    assert all(equal(a, b) for a, b in zip(batches(images).epoch(1, start), whole[start:], strict=True))


@pytest.mark.parametrize("in_files", [False, True])
@pytest.mark.parametrize("ranks", [2, 3])
def test_the_shares_of_all_ranks_are_the_batch(in_files: bool, ranks: int, tmp_path: Path) -> None:
    """Partners lie in other ranks' parts; 23 images in batches of 7 leave 2, which all ranks compute whole."""
    images = files(tmp_path, split(23)) if in_files else split(23)
    parts = [list(batches(images, 7, rank=rank, ranks=ranks).epoch(1)) for rank in range(ranks)]
    for step, whole in enumerate(batches(images, 7).epoch(1)):
        found = [part[step] for part in parts]
        if len(whole[1]) < 2 * ranks:
            assert all(equal(part, whole) for part in found)
            continue
        assert equal((_joined(found, 0), _joined(found, 1)), whole)


def _joined(parts: list[Batch], which: int) -> Tensor:
    return torch.cat([part[which] for part in parts])


@pytest.mark.parametrize("options", [{"mixup": -0.1}, {"classes": 0}])
def test_what_cannot_be_mixed_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"mixup .* is out of range; choose 0 or more"):
        batches(split(), **options)

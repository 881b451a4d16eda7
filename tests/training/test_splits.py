"""A recipe's data: what its two seeds decide."""

from collections.abc import Callable

import pytest
import torch

from qtrain.data import DataSet
from qtrain.recipe import Recipe
from qtrain.training.splits import load_splits


def same(a: DataSet, b: DataSet) -> bool:
    pairs = ((a.train, b.train), (a.validation, b.validation))
    return all(torch.equal(x.images, y.images) and torch.equal(x.labels, y.labels) for x, y in pairs)


def test_a_split_seed_gives_all_seeds_the_same_images(tiny: Callable[..., Recipe]) -> None:
    first, second, other = (load_splits(tiny(seed=s, split_seed=t)) for s, t in ((0, 5), (1, 5), (1, 6)))
    assert same(first, second)
    assert not same(second, other)


def test_without_one_the_seed_draws_the_images(tiny: Callable[..., Recipe]) -> None:
    assert same(load_splits(tiny(seed=3)), load_splits(tiny(seed=9, split_seed=3)))
    assert not same(load_splits(tiny(seed=3)), load_splits(tiny(seed=4)))


@pytest.mark.parametrize("size", [20, 60])
def test_the_subset_has_the_size_asked_for(tiny: Callable[..., Recipe], size: int) -> None:
    assert len(load_splits(tiny(train_size=size)).train) == size

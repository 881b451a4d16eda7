"""A stratified split draws what scikit-learn's does, to the index, and the digits are scikit-learn's to the bit."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits as sklearn_digits
from sklearn.model_selection import train_test_split

from qtrain.data.digits import TEST_SIZE, load_digits
from qtrain.data.stratified import stratified_split


def labels_of(draws: np.random.Generator, even: bool) -> np.ndarray:
    """Labels of 2 to 11 classes, two or more of each; as many of each where ``even``."""
    classes = int(draws.integers(2, 12))
    if even:
        labels = np.repeat(np.arange(classes), int(draws.integers(2, 40)))
    else:
        shares = draws.dirichlet(np.full(classes, draws.choice([0.3, 1, 5, 100])))
        more = draws.choice(classes, size=int(draws.integers(1, 400)), p=shares)
        labels = np.concatenate([np.repeat(np.arange(classes), 2), more])
    draws.shuffle(labels)
    return labels


@pytest.mark.parametrize("even", [True, False], ids=["equal classes", "unequal classes"])
def test_the_draws_are_those_of_scikit_learn(even: bool) -> None:
    draws = np.random.default_rng(0)
    for _ in range(300):
        labels = labels_of(draws, even)
        classes = len(np.unique(labels))
        size = int(draws.integers(classes, len(labels) - classes + 1))
        seed = int(draws.integers(2**32))
        wanted = train_test_split(np.arange(len(labels)), test_size=size, stratify=labels, random_state=seed)
        for ours, theirs in zip(stratified_split(labels, size, seed), wanted, strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


def test_the_digits_are_those_of_scikit_learn_and_so_is_their_test_set() -> None:
    known = sklearn_digits()
    pixels = torch.from_numpy(known.images).float()[:, None]
    enlarged = F.interpolate(pixels, size=(32, 32), mode="bilinear", align_corners=False)
    images = enlarged.mul(255 / 16).round().to(torch.uint8).repeat(1, 3, 1, 1)
    places = np.arange(len(known.target))
    rest, test = train_test_split(places, test_size=TEST_SIZE, stratify=known.target, random_state=0)
    for split, at in zip(load_digits(), (rest, test), strict=True):
        assert torch.equal(split.images, images[torch.from_numpy(at)])
        assert torch.equal(split.labels, torch.from_numpy(known.target[at]).long())

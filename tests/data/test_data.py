"""Data sets as the rest of qtrain sees them: splits, protocols, digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from qtrain.data import DATASETS, DataSet, Split, load_data
from qtrain.errors import UserError


def rows(split: Split) -> set[bytes]:
    """Return the images as a set."""
    return {image.numpy().tobytes() for image in split.images}


def equal(a: Split, b: Split) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


def share(split: Split) -> np.ndarray:
    return np.bincount(split.labels.numpy(), minlength=10) / len(split)


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load_data("digits")


def test_digits_have_the_promised_sizes_shapes_and_types(digits: DataSet) -> None:
    assert [len(s) for s in (digits.train, digits.validation, digits.test)] == [1100, 300, 397]
    for split in (digits.train, digits.validation, digits.test):
        assert split.images.dtype == torch.uint8
        assert split.images.shape == (len(split), 3, 32, 32)
        assert split.labels.dtype == torch.int64
    assert digits.classes == len(digits.class_names) == 10
    assert not digits.flip


def test_digits_splits_are_disjoint_and_hold_every_image_of_scikit_learn_once(digits: DataSet) -> None:
    source = load_digits()
    labels = torch.cat([s.labels for s in (digits.train, digits.validation, digits.test)])
    assert torch.equal(labels.bincount(), torch.from_numpy(source.target).bincount())
    distinct = len({image.tobytes() for image in source.images})
    assert len(rows(digits.train) | rows(digits.validation) | rows(digits.test)) == distinct
    assert not rows(digits.train) & rows(digits.validation)
    assert not rows(digits.test) & (rows(digits.train) | rows(digits.validation))


def test_the_original_nearest_to_an_enlarged_digit_has_its_label(digits: DataSet) -> None:
    images = digits.test.images
    assert int(images.max()) == 255
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    # the four pixels in the middle of an enlarged one keep 49/64 of its own value; a nearest match finds the original
    middle = images[:, 0].float().reshape(-1, 8, 4, 8, 4)[:, :, 1:3, :, 1:3].mean((2, 4)) * 16 / 255
    source = load_digits()
    original = torch.from_numpy(source.images).float()
    nearest = torch.cdist(middle.flatten(1), original.flatten(1)).argmin(1)
    assert torch.equal(torch.from_numpy(source.target)[nearest], digits.test.labels)


def test_digits_splits_are_stratified(digits: DataSet) -> None:
    for split in (digits.validation, digits.test):
        assert np.abs(share(split) - share(digits.train)).max() < 0.005


def test_the_seed_draws_the_validation_split_and_nothing_else(digits: DataSet) -> None:
    again, other = load_data("digits", seed=0), load_data("digits", seed=1)
    for name in ("train", "validation", "test"):
        assert equal(getattr(again, name), getattr(digits, name))
    assert equal(other.test, digits.test)
    assert rows(other.validation) != rows(digits.validation)


@pytest.mark.parametrize("size", [10, 299, 1390])
def test_the_validation_size_is_kept(size: int) -> None:
    data = load_data("digits", validation_size=size)
    assert (len(data.train), len(data.validation), len(data.test)) == (1400 - size, size, 397)


def test_the_paper_protocol_trains_on_everything_and_validates_on_the_test_set(digits: DataSet) -> None:
    data = load_data("digits", protocol="paper", seed=3)
    assert data.protocol == "paper"
    assert digits.protocol == "holdout"
    assert len(data.train) == 1400
    assert data.validation is data.test
    assert equal(data.test, digits.test)
    moved = data.to("cpu")
    assert moved.validation is moved.test


def test_to_moves_every_split(digits: DataSet) -> None:
    moved = digits.to("meta")
    assert {s.device.type for s in (moved.train, moved.validation, moved.test)} == {"meta"}
    assert moved.class_names == digits.class_names


def test_subsets_of_one_seed_are_nested_and_leave_the_other_splits_alone(digits: DataSet) -> None:
    small, large = digits.subset(50), digits.subset(200)
    assert (len(small.train), len(large.train)) == (50, 200)
    assert equal(large.train.take(50), small.train)
    assert not equal(digits.subset(50, seed=1).train, small.train)
    assert small.validation is digits.validation
    assert small.test is digits.test
    assert rows(small.train) <= rows(digits.train)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "emnist"}, "'emnist'.*digits, cifar10, cifar100"),
        ({"name": "digits", "protocol": "test"}, "'test'.*holdout, paper"),
        ({"name": "digits", "validation_size": 0}, "0 is out of range.*from 10 to 1390"),
        ({"name": "digits", "validation_size": 1391}, "1391 is out of range.*from 10 to 1390"),
        ({"name": "digits", "protocol": "paper", "validation_size": 100}, "100 .*holdout"),
        ({"name": "digits", "seed": -1}, "seed -1 .*from 0 to"),
        ({"name": "digits", "seed": 2**32}, "seed 4294967296 .*from 0 to"),
    ],
)
def test_wrong_arguments_are_answered_in_one_line(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        load_data(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 1101])
def test_subset_and_take_refuse_sizes_out_of_range(digits: DataSet, size: int) -> None:
    with pytest.raises(UserError, match=f"{size}.*1 to 1100"):
        digits.subset(size)
    with pytest.raises(UserError, match=f"{size}.*1 to 1100"):
        digits.train.take(size)


def test_a_split_refuses_what_is_not_uint8_with_one_label_an_image() -> None:
    with pytest.raises(TypeError, match=r"torch\.float32"):
        Split(torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="2 images"):
        Split(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


@pytest.mark.cifar
@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_real_cifar_is_balanced_split_by_seed_and_named(cifar_root: object, name: str, classes: int) -> None:
    assert name in DATASETS.built_in
    data = load_data(name, root=str(cifar_root), seed=1)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [45_000, 5_000, 10_000]
    assert data.flip
    assert len(data.class_names) == data.classes == classes
    assert data.validation.labels.bincount().tolist() == [5000 // classes] * classes
    assert data.train.labels.bincount().tolist() == [45_000 // classes] * classes
    assert data.test.labels.bincount().tolist() == [10_000 // classes] * classes


@pytest.mark.cifar
def test_real_cifar10_has_the_published_channel_means(cifar_root: object) -> None:
    data = load_data("cifar10", root=str(cifar_root), protocol="paper")
    assert len(data.train) == 50_000
    means = [data.train.images[:, channel].double().mean() / 255 for channel in range(3)]
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)

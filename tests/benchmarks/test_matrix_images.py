"""What the matrix proves its networks on: digits in any shape, signals of known modulations."""

import numpy as np
import pytest
import torch

from benchmarks.finn_matrix import Cell, cells, record_key
from benchmarks.matrix_images import CLASSES, _wave, images_of, signals
from qtrain.data import load_data


@pytest.mark.parametrize(
    ("shape", "classes", "count"),
    [
        ((3, 32, 32), 10, None),
        ((3, 48, 48), 43, 20),
        ((600, 1, 1), 2, 20),
        ((1, 10, 49), 12, 5),
        ((2, 1024, 1), 24, 30),
    ],
)
def test_images_have_the_networks_shape_and_classes(
    shape: tuple[int, int, int], classes: int, count: int | None
) -> None:
    train, train_labels, test, labels = images_of(shape, classes, count)
    assert train.dtype == test.dtype == torch.uint8
    assert tuple(train.shape[1:]) == tuple(test.shape[1:]) == shape
    assert len(test) == len(labels) == (count or 397)
    assert train_labels.max() < classes
    assert len(set(train_labels.tolist())) == min(classes, 10)


def test_digits_of_their_own_size_are_the_digits() -> None:
    data = load_data("digits")
    train, _, test, labels = images_of((3, 32, 32), 10, None)
    assert torch.equal(train, data.train.images)
    assert torch.equal(test, data.test.images)
    assert torch.equal(labels, data.test.labels)


def test_rows_are_digits_of_so_many_pixels_row_after_row() -> None:
    _, _, rows, labels = images_of((600, 1, 1), 10, 50)
    pictures = rows.reshape(-1, 24, 25).float()
    digits = load_data("digits").test.take(50)
    means = digits.images.float().mean((1, 2, 3))
    torch.testing.assert_close(pictures.mean((1, 2)), means, rtol=0.05, atol=3.0)
    assert torch.equal(labels, digits.labels)


def test_signals_are_the_same_at_every_call_and_differ_by_seed() -> None:
    images, labels = signals(8, (2, 256, 1))
    again, same = signals(8, (2, 256, 1))
    assert torch.equal(images, again)
    assert torch.equal(labels, same)
    assert not torch.equal(images, signals(8, (2, 256, 1), seed=1)[0])
    assert set(labels.tolist()) <= set(CLASSES.values())


@pytest.mark.parametrize(
    ("name", "points"), [("OOK", 2), ("4ASK", 4), ("8ASK", 8), ("BPSK", 2), ("QPSK", 4), ("16PSK", 16), ("64QAM", 64)]
)
def test_a_modulation_has_its_points_and_power_one(name: str, points: int) -> None:
    wave = _wave(name, 80_000, np.random.default_rng(0))
    assert len(np.unique(np.round(wave, 6))) == points
    assert np.mean(np.abs(wave) ** 2) == pytest.approx(1, rel=0.03)


def test_fm_has_one_amplitude_and_a_phase_that_moves() -> None:
    wave = _wave("FM", 1024, np.random.default_rng(0))
    np.testing.assert_allclose(np.abs(wave), 1)
    assert len(np.unique(np.round(np.angle(wave), 3))) > 500


def test_a_family_has_its_usual_cell_and_further_ones() -> None:
    usual, signs, larger = cells(["CNV"], [2])
    assert usual == Cell("CNV", 2, 0.25, 32)
    assert (signs.num_classes, larger.image_size) == (43, 48)
    (radio,) = cells(["VGG10_RADIOML"], [4])
    assert (radio.shape, radio.num_classes, radio.width) == ((2, 1024, 1), 24, 1.0)
    imagenet, cifar = cells(["MOBILENETV1"], [8])
    assert (imagenet.shape, cifar.shape) == ((3, 64, 64), (3, 32, 32))


def test_older_records_are_known_by_ten_classes_and_lists_are_sizes() -> None:
    old = {"network": "CNV_2W2A", "width": 0.25, "image_size": 32}
    assert record_key(old) == record_key(old | {"num_classes": 10}) != record_key(old | {"num_classes": 43})
    assert record_key(old | {"image_size": [1024, 1]})[2] == (1024, 1)

"""Arrays of one's own: layouts, ranges, labels, and every wrong file in one line."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qtrain.data import DataOptions, class_names, image_shape, load_data, own_arrays
from qtrain.data.own_arrays import read_arrays
from qtrain.errors import UserError
from qtrain.recipe import Recipe
from qtrain.training.setup import batches_of

RNG = np.random.default_rng(0)


def images(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def labels(count: int, classes: int = 2) -> np.ndarray:
    return np.arange(count) % classes


def arrays(shape: tuple[int, ...] = (40, 3, 8, 8), **changes: Any) -> dict[str, Any]:
    """Return a file that is right, but for the changes; None takes an array out."""
    held = (10, *shape[1:])
    found = {"x_train": images(*shape), "y_train": labels(shape[0]), "x_test": images(*held), "y_test": labels(10)}
    found |= changes
    return {name: value for name, value in found.items() if value is not None}


def save(folder: Path, values: dict[str, Any]) -> str:
    path = folder / "own.npz"
    np.savez(path, **values)
    return str(path)


@pytest.mark.parametrize(
    ("layout", "shape", "wanted"),
    [
        ("NCHW", (40, 3, 8, 6), (3, 8, 6)),
        ("NHWC", (40, 8, 6, 3), (3, 8, 6)),
        ("NHW", (40, 8, 8), (1, 8, 8)),
        ("NCL", (40, 2, 16), (2, 16, 1)),
        (None, (40, 2, 16), (2, 16, 1)),
        ("NF", (40, 7), (7, 1, 1)),
        (None, (40, 7), (7, 1, 1)),
    ],
)
def test_every_layout_becomes_channels_height_width(
    tmp_path: Path, layout: Any, shape: tuple[int, ...], wanted: tuple[int, int, int]
) -> None:
    values = arrays(shape)
    name = save(tmp_path, values)
    options = DataOptions(layout=layout)
    data = load_data(name, protocol="paper", options=options)
    assert data.shape == image_shape(name, options=options) == wanted
    assert data.class_names == class_names(name, options=options) == ("0", "1")
    assert data.layout == (layout or {2: "NF", 3: "NCL"}[len(shape)])
    order = (0, 3, 1, 2) if layout == "NHWC" else tuple(range(len(shape)))
    assert np.array_equal(
        data.test.images.numpy().reshape(10, *wanted), values["x_test"].transpose(order).reshape(10, *wanted)
    )


def test_a_folder_of_npy_files_is_the_same(tmp_path: Path) -> None:
    values = arrays(class_names=np.array(["cat", "dog"]), x_val=images(6, 3, 8, 8), y_val=labels(6))
    for name, value in values.items():
        np.save(tmp_path / f"{name}.npy", value)
    options = DataOptions(layout="NCHW")
    folder = load_data(str(tmp_path), options=options)
    file = load_data(save(tmp_path, values), options=options)
    assert folder.class_names == ("cat", "dog")
    assert (len(folder.train), len(folder.validation), len(folder.test)) == (40, 6, 10)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(folder, part).images, getattr(file, part).images)
    assert folder.digest == file.digest != ""


def test_floats_become_bytes_on_the_line_of_their_range(tmp_path: Path) -> None:
    x = np.array([[-1.0, 0.0], [0.5, 1.0]] * 20, np.float32)
    name = save(tmp_path, arrays((40, 2), x_train=x, x_test=x[:10]))
    data = load_data(name, protocol="paper", options=DataOptions(value_range=(-1.0, 1.0)))
    assert data.train.images[:2].flatten().tolist() == [0, 128, 191, 255]
    assert data.facts().value_range == (-1.0, 1.0)
    with pytest.raises(
        UserError, match=r"float32 from -1 to 1: say what range it may have, as in --value-range=-1,1; "
    ):
        load_data(name)
    with pytest.raises(
        UserError, match=r"x_train holds -1 in input 0, outside the range 0 to 1; .* nothing is clipped"
    ):
        load_data(name, options=DataOptions(value_range=(0.0, 1.0)))


def test_without_a_test_set_one_is_held_out_and_what_is_not_used_is_named(tmp_path: Path) -> None:
    name = save(tmp_path, arrays(x_test=None, y_test=None, extra=np.zeros(3)))
    data = load_data(name, options=DataOptions(layout="NCHW"))
    assert len(data.test) == 8
    assert "own.npz: extra not used; arrays are x_train, y_train" in data.notes[0]
    assert "8 of its 40 training inputs are held out" in data.notes[1]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    name = save(tmp_path, arrays())
    first = load_data(name, options=DataOptions(layout="NCHW"))
    save(tmp_path, arrays((44, 3, 8, 8)))
    second = load_data(name, options=DataOptions(layout="NCHW"))
    assert len(second.train) > len(first.train)
    assert first.digest != second.digest


def test_signals_get_noise_rows_get_nothing_and_neither_is_cropped(tmp_path: Path) -> None:
    signals = load_data(save(tmp_path, arrays((40, 2, 16))))
    assert signals.kinds == ("noise",)
    recipe = Recipe("own:Net", "own.npz", batch_size=8)
    noisy = batches_of(recipe.replace(noise=0.1), signals)
    plain = batches_of(recipe.replace(noise=0.0), signals)
    first, _ = next(noisy.epoch(0))
    bare, _ = next(plain.epoch(0))
    assert 0.05 < float((first - bare).abs().mean()) < 0.1
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(list(noisy.epoch(1))[2][0], next(noisy.epoch(1, start=2))[0])
    assert torch.equal(bare.mul(255).round().byte(), signals.train.images[plain.plan(0).order[:8]])
    rows = load_data(save(tmp_path, arrays((40, 7))))
    assert rows.kinds == ()
    assert batches_of(recipe, rows).pads == (0, 0)
    cropped = batches_of(recipe.replace(augmentation="crop"), signals)
    assert cropped.pads == (4, 0)


NAN = np.full((40, 4), 0.5, np.float32)
NAN[7, 2] = np.nan
FLOAT_RANGE = DataOptions(value_range=(0.0, 1.0))
PLAIN = DataOptions()
IMAGES = DataOptions(layout="NCHW")


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        ({"x_train": None}, IMAGES, r"has no x_train; it needs x_train, y_train, x_test and y_test, but has x_test, "),
        ({"y_test": None}, IMAGES, r"has no y_test, but its other half; give both or none$"),
        ({}, PLAIN, r"x_train of .* is \[40, 3, 8, 8\]: say --layout NCHW \(channels first\) or --layout NHWC"),
        ({"x_train": images(40, 8, 8)}, PLAIN, r"say --layout NHW for images of one channel, or --layout NCL"),
        ({}, DataOptions(layout="NF"), r"--layout NF has 2 dimensions, but x_train of .* is \[40, 3, 8, 8\]; layouts"),
        ({}, DataOptions(layout="NHWC", channels=3), r"has 8 channels in layout NHWC, but --channels 3; is --layout"),
        ({}, DataOptions(layout="NCHW", channels=1), r"has 3 channels in layout NCHW, but --channels 1"),
        ({}, DataOptions(image_size=(4, 4)), r"--image-size is of folders of images, and .* holds arrays"),
        ({"y_train": labels(40) + 1, "y_test": labels(10) + 1}, IMAGES, r"labels start at 1; subtract 1"),
        ({"y_train": -labels(40)}, IMAGES, r"y_train has the label -1; class numbers are 0 and more$"),
        (
            {"y_train": np.eye(2)[labels(40)]},
            IMAGES,
            r"y_train must be \[40\], .* is \[40, 2\]; of one-hot rows take arg",
        ),
        ({"y_train": labels(40).astype(float)}, IMAGES, r"y_train must hold whole class numbers, but holds float64"),
        ({"y_train": labels(39)}, IMAGES, r"y_train must be \[40\], a class number for each input, but is \[39\]$"),
        (
            {"y_train": labels(40) * 2},
            IMAGES,
            r"has no input of class 1 in its train split; number the classes without",
        ),
        ({"y_train": labels(40) * 0}, IMAGES, r"has one class, 0; training needs two or more"),
        (
            {"y_test": labels(10) * 0},
            IMAGES,
            r"has no input of class 1 in its test split; add some, or leave the test ",
        ),
        ({"y_test": labels(10, 3)}, IMAGES, r"has labels from 0 to 2 in its test split, but 2 classes"),
        ({"x_test": images(10, 3, 8, 9)}, IMAGES, r"x_test holds inputs of \[3, 8, 9\], x_train of \[3, 8, 8\]$"),
        ({"x_test": images(10, 3, 8)}, IMAGES, r"x_test is \[10, 3, 8\], x_train has 4 dimensions$"),
        ({"x_train": images(0, 3, 8, 8), "y_train": labels(0)}, IMAGES, r"x_train is empty; give it inputs"),
        ({"x_train": NAN, "x_test": NAN[:5]}, FLOAT_RANGE, r"holds NaN or infinite values, first in input 7;"),
        ({"x_train": NAN.astype(complex)}, FLOAT_RANGE, r"holds complex128; give uint8, or numbers with --value-range"),
        ({"class_names": np.array(["a", "a"])}, IMAGES, r"class_names must be two or more different texts"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, changes: dict[str, Any], options: DataOptions, says: str) -> None:
    name = save(tmp_path, arrays(**changes))
    with pytest.raises(UserError, match=says) as error:
        load_data(name, options=options)
    assert "\n" not in str(error.value)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return print, ("unpickled",)

    path = tmp_path / "bomb.npz"
    np.savez(path, **arrays(x_train=np.array([Bomb()] * 40, dtype=object)))
    with pytest.raises(
        UserError, match=r"bomb.npz cannot be read \(it holds Python objects, which are never unpickled"
    ):
        load_data(str(path), options=IMAGES)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut in half", b"no zip"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad.npz cannot be read \(.*\)$"):
        load_data(str(path), options=IMAGES)
    with pytest.raises(UserError, match=r"not_there.npz does not exist"):
        load_data(str(tmp_path / "not_there.npz"))


def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros are packed to a thousandth; what is not used of an archive is not unpacked."""
    zeros = np.zeros((1 << 21, 1), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", x_train=zeros, y_train=labels(len(zeros)), other=np.zeros(1 << 24))
    assert len(read_arrays(tmp_path / "bomb.npz", PLAIN).train) == len(zeros)
    assert (free := own_arrays._free_memory()) is None or free > 1 << 20
    monkeypatch.setattr(own_arrays, "_free_memory", lambda: 1 << 20)
    with pytest.raises(UserError, match=r"bomb.npz unpacks to 18 MiB, and 1 MiB of memory are free; give fewer inputs"):
        read_arrays(tmp_path / "bomb.npz", PLAIN)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([0, 2**40]), "has the label 1099511627776; class numbers are below 1,000,000"),
        (np.array([0, 2**63], np.uint64), "has the label 9223372036854775808"),
    ],
    ids=str,
)
def test_a_label_that_no_classes_can_have_is_refused(array: np.ndarray, says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros((2, 3), np.uint8), y_train=array)
    with pytest.raises(UserError, match=says):
        read_arrays(tmp_path / "a.npz", PLAIN)


def test_a_file_of_another_kind_under_an_arrays_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    np.savez(tmp_path / "b.npz", a=1)
    os.replace(tmp_path / "b.npz", tmp_path / "a" / "x_train.npy")
    with pytest.raises(UserError, match=r"x_train.npy is no array; write it anew with numpy.save"):
        read_arrays(tmp_path / "a", PLAIN)
    np.save(tmp_path / "c.npy", np.zeros(3))
    os.replace(tmp_path / "c.npy", tmp_path / "c.npz")
    with pytest.raises(UserError, match=r"c.npz cannot be read \(.*zip"):
        read_arrays(tmp_path / "c.npz", PLAIN)
    (tmp_path / "a" / "x_train.npy").unlink()
    os.mkfifo(tmp_path / "a" / "x_train.npy")
    np.save(tmp_path / "a" / "y_train.npy", np.zeros(3))
    os.mkfifo(tmp_path / "d.npz")
    for path, says in ((tmp_path / "d.npz", "d.npz is a named pipe"), (tmp_path / "a", "x_train.npy is a named pipe")):
        with pytest.raises(UserError, match=says):
            read_arrays(path, PLAIN)

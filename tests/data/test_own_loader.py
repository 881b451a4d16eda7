"""Data that code of one's own returns: every form that is taken, and every other in one line."""

from pathlib import Path

import pytest
import torch

from qtrain.data import DataOptions, class_names, image_shape, load_data
from qtrain.errors import UserError

CODE = """
import numpy as np
import torch
from PIL import Image
from qtrain.data import DataSet, Split

calls = []
rng = np.random.default_rng(0)
x = rng.integers(0, 256, (60, 3, 8, 8)).astype(np.uint8)
y = np.arange(60) % 3


def split(low, high):
    return Split(torch.from_numpy(x[low:high]), torch.from_numpy(y[low:high]))


def pair():
    calls.append(1)
    return split(0, 45), split(45, 60)


def dataset(root):
    return DataSet("mine", 3, ("a", "b", "c"), "holdout", True, split(0, 30), split(30, 45), split(45, 60))


def dictionary():
    return {"x_train": x[:45], "y_train": y[:45], "x_test": x[45:], "y_test": y[45:]}


class Torch(torch.utils.data.Dataset):
    classes = ["a", "b", "c"]

    def __init__(self, low, high, kind="uint8"):
        self.low, self.high, self.kind = low, high, kind

    def __len__(self):
        return self.high - self.low

    def __getitem__(self, i):
        if self.kind == "random":
            return torch.rand(3, 8, 8), 0
        image = torch.from_numpy(x[self.low + i])
        if self.kind == "pillow":
            image = Image.fromarray(x[self.low + i].transpose(1, 2, 0))
        if self.kind == "float":
            image = image / 255
        return image, int(y[self.low + i])


def torch_sets():
    return Torch(0, 45), Torch(45, 60)


def pillow():
    return Torch(0, 45, "pillow"), Torch(45, 60, "pillow")


def floats():
    return Torch(0, 45, "float"), Torch(45, 60, "float")


def one():
    return Torch(0, 60)


def tuples():
    return (x[:45], y[:45]), (x[45:], y[45:])


def random():
    return Torch(0, 45, "random"), Torch(45, 60, "random")


def nonsense():
    return 42


def fails():
    raise ValueError("no disk\\nmore")


def needs(url):
    pass


finished = pair()
"""
UNIT = DataOptions(value_range=(0.0, 1.0))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with the code in a file of its own name, since a module is imported once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_data.py").write_text(CODE)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pair", DataOptions()),
        ("dictionary", DataOptions(layout="NCHW")),
        ("torch_sets", DataOptions()),
        ("pillow", DataOptions()),
        ("floats", UNIT),
        ("tuples", DataOptions()),
        ("finished", DataOptions()),
    ],
)
def test_every_form_gives_the_same_splits(place: Path, name: str, options: DataOptions) -> None:
    wanted = load_data("own_data.py:pair", seed=3)
    data = load_data(f"own_data.py:{name}", seed=3, options=options)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(data, part).images, getattr(wanted, part).images)
        assert torch.equal(getattr(data, part).labels, getattr(wanted, part).labels)
    assert len(data.test) == 15
    assert data.digest


def test_a_data_set_keeps_its_splits_its_names_and_its_flips(place: Path) -> None:
    data = load_data("own_data.py:dataset", root="somewhere")
    assert data.class_names == class_names("own_data.py:dataset", root="somewhere") == ("a", "b", "c")
    assert data.kinds == ("crop", "flip")
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 15, 15)


def test_one_torch_data_set_gives_a_test_set_away(place: Path) -> None:
    data = load_data("own_data.py:one")
    assert data.class_names == ("a", "b", "c")
    assert (len(data.test), len(data.validation)) == (12, 9)


def test_it_is_called_once_for_facts_and_data(place: Path) -> None:
    from qtrain.own_code import load_reference, parse_reference

    assert image_shape("own_data.py:pair") == (3, 8, 8)
    load_data("own_data.py:pair")
    assert len(load_reference(parse_reference("own_data.py:calls", "x"))) == 2  # once for ``finished``


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("nonsense", DataOptions(), r"nonsense returned a int; it must return a qtrain.data.DataSet, a dict of arrays"),
        ("fails", DataOptions(), r"own_data.py:fails fails when it is called \(ValueError: no disk\); mend it$"),
        ("needs", DataOptions(), r"own_data.py:needs needs arguments \(url\); give them defaults"),
        ("floats", DataOptions(), r"holds float32 from 0 to 1: say what range it may have"),
        ("random", UNIT, r"gives another input each time that it is asked; take its random transforms out"),
        ("not_there", DataOptions(), r"own_data.py has no not_there$"),
        ("pair", DataOptions(image_size=(4, 4)), r"--image-size is of folders of images; let own_data.py:pair return"),
    ],
)
def test_what_is_wrong_is_one_line(place: Path, name: str, options: DataOptions, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        load_data(f"own_data.py:{name}", options=options)
    assert "\n" not in str(error.value)

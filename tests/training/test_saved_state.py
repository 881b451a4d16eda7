"""A checkpoint of the right format with the wrong content is refused in one line, before anything is allocated."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qtrain.errors import UserError
from qtrain.training import checkpoint
from qtrain.training.saved_state import check_kinds, check_optimizer, check_weights, position_from, restoring
from qtrain.training.session import Position

PATH = Path("run/checkpoint.pt")
ODD: list[tuple[str, Callable[[Tensor], Any], str]] = [
    ("a text", lambda weight: "x", "weight is no dense tensor"),
    ("sparse", lambda weight: weight.to_sparse(), "weight is no dense tensor"),
    ("meta", lambda weight: weight.to("meta"), "weight is no dense tensor"),
    ("of a pebibyte", lambda weight: torch.ones(1).expand(1 << 48), "weight is no dense tensor"),
    ("expanded", lambda weight: torch.ones(()).expand(weight.shape), "weight is no dense tensor"),
    ("double", lambda weight: weight.double(), "weight is torch.float64, where torch.float32 belongs"),
    ("whole numbers", lambda weight: weight.to(torch.int64), "weight is torch.int64, where"),
    ("NaN", lambda weight: torch.full_like(weight, float("nan")), "weight is not finite"),
    ("infinite", lambda weight: torch.full_like(weight, float("inf")), "weight is not finite"),
]


@pytest.mark.parametrize(("odd", "says"), [each[1:] for each in ODD], ids=[each[0] for each in ODD])
def test_weights_of_another_kind_are_named(odd: Callable[[Tensor], Any], says: str) -> None:
    model = nn.Linear(3, 2)
    state = dict(model.state_dict())
    assert check_weights(model, state) is None
    with pytest.raises(UserError, match=rf"^run/checkpoint.pt is damaged \({says}"):
        checkpoint.load_weights(model, state | {"weight": odd(state["weight"])}, PATH)


def test_weights_must_have_texts_as_names() -> None:
    assert check_weights(nn.Linear(3, 2), {3: torch.ones(1)}) == "3 is no dense tensor"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epoch": 1.5}, "position.epoch is '1.5'"),
        ({"epoch": "1"}, "position.epoch is '1'"),
        ({"step": True}, "position.step is 'True'"),
        ({"seconds": float("nan")}, "position.seconds is 'nan'"),
        ({"seconds": float("inf")}, "position.seconds is 'inf'"),
        ({"best_epoch": -5}, "position.best_epoch is '-5'"),
        ({"lr": torch.ones(3)}, "position.lr is"),
        ({"other": 1}, "its position is no position of a run"),
    ],
    ids=str,
)
def test_a_position_is_of_numbers(changes: dict[str, Any], says: str) -> None:
    whole = {"epoch": 2, "step": 0, "seconds": 1.5, "best_accuracy": -1.0}
    assert position_from(Position, whole, PATH) == Position(**whole)
    with pytest.raises(UserError, match=rf"^run/checkpoint.pt is damaged \({says}"):
        position_from(Position, whole | changes, PATH)


def stepped() -> torch.optim.Optimizer:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam([{"params": list(model.parameters()), "name": "layer"}])
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.ones(4, 4), r"exp_avg of layer is \[4, 4\] for a parameter of \[2, 3\]"),
        (torch.full((2, 3), float("nan")), "exp_avg of layer is not finite"),
        (torch.ones(()).expand(2, 3), "exp_avg of layer is"),
    ],
    ids=str,
)
def test_an_optimizer_goes_on_with_state_of_its_parameters(value: Tensor, says: str) -> None:
    optimizer = stepped()
    check_optimizer(optimizer, PATH)
    optimizer.state[optimizer.param_groups[0]["params"][0]]["exp_avg"] = value
    with pytest.raises(UserError, match=rf"^run/checkpoint.pt is damaged \({says}"):
        check_optimizer(optimizer, PATH)


def test_a_kind_may_not_change_but_a_number_may_become_a_tensor() -> None:
    fresh = {"a": 1.0, "b": {"c": "x"}, "d": None, "e": [1]}
    check_kinds(fresh, {"a": torch.ones(()), "b": {"c": "y", "z": 1}, "d": {}, "e": (2, 3)}, PATH, "method")
    for found, says in (
        ({"a": "1"}, "method.a is a str"),
        ({"b": 3}, "method.b is a int"),
        ({"e": 1}, "method.e is a"),
    ):
        with pytest.raises(UserError, match=rf"^run/checkpoint.pt is damaged \({says}"):
            check_kinds(fresh, found, PATH, "method")


def test_what_restoring_raises_is_the_checkpoints() -> None:
    with (
        pytest.raises(UserError, match=r"^run/checkpoint.pt is damaged \(KeyError: 'x'\); train again"),
        restoring(PATH),
    ):
        raise KeyError("x")
    with pytest.raises(torch.OutOfMemoryError), restoring(PATH):
        raise torch.OutOfMemoryError


def test_what_unpacks_to_more_than_it_has_is_never_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    checkpoint.save(path, {"recipe": {}, "model": {"weight": torch.zeros(1 << 20)}})
    assert len(checkpoint.load(path)["model"]["weight"]) == 1 << 20
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    path.write_bytes(packed.getvalue())
    with pytest.raises(UserError, match=r"best.pt is damaged or no checkpoint of qtrain"):
        checkpoint.load(path)


@pytest.mark.parametrize("found", [torch.ones(3), "1", True, None, 2, 10**30], ids=str)
def test_a_format_is_a_whole_number(found: Any, tmp_path: Path) -> None:
    torch.save({"format": found, "recipe": {}, "model": {}}, tmp_path / "best.pt")
    with pytest.raises(UserError, match=r"best.pt has format .*this qtrain reads 1"):
        checkpoint.load(tmp_path / "best.pt")

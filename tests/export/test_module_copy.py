"""A copy of a network is the one that ``copy.deepcopy`` makes: attribute by attribute, with the same sharing."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qtrain.export.module_copy import copy_module
from qtrain.models import build_model


class Own(nn.Module):
    """What modules of one's own keep: a shared table, a plain tensor, a cycle, a layer in two places, a set."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.again = self.layer
        self.table: dict[str, int] = {}
        self.same_table = self.table
        self.plain = torch.ones(3)
        self.owner = [self]
        self.names = {"a"}


class Counted(nn.Module):
    """Says itself how it is copied."""

    def __init__(self, copies: int = 0) -> None:
        super().__init__()
        self.copies = copies

    def __deepcopy__(self, memo: dict[int, Any]) -> "Counted":
        return Counted(self.copies + 1)


class Forgetful(nn.Linear):
    """Keeps something that its copies shall not have."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "cache": None}


def forgetful() -> nn.Module:
    layer = Forgetful(2, 2)
    layer.cache = [1, 2]
    return layer


def hooked() -> nn.Module:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    network[0].register_forward_hook(print)
    network[1].register_buffer("scratch", torch.zeros(2), persistent=False)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "CNV_1W1A": lambda: build_model("CNV_1W1A", width=0.125),
    "RESNET20_4W4A_statistics": lambda: build_model("RESNET20_4W4A", width=0.125, scaling="statistics"),
    "own": Own,
    "counted": lambda: nn.Sequential(Counted(), nn.Linear(2, 2)),
    "forgetful": forgetful,
    "hooked": hooked,
}


def reached(network: nn.Module) -> list[tuple[str, type, object]]:
    """List all that a network holds, in order: where, its type, and its value or where it was seen first."""
    seen: dict[int, str] = {}
    found: list[tuple[str, type, object]] = []

    def visit(value: Any, place: str) -> None:
        if isinstance(value, nn.Module | Tensor | dict | list | tuple | set) and id(value) in seen:
            found.append((place, type(value), seen[id(value)]))
            return
        seen[id(value)] = place
        if isinstance(value, nn.Module):
            found.append((place, type(value), ""))
            for name, held in vars(value).items():
                visit(held, f"{place}.{name}")
        elif isinstance(value, Tensor):
            found.append((place, type(value), (value.tolist(), value.dtype, value.requires_grad, value.is_leaf)))
        elif isinstance(value, dict):
            found.append((place, type(value), len(value)))
            for number, (name, held) in enumerate(value.items()):
                visit(held, f"{place}[{name if isinstance(name, str) else number}]")
        elif isinstance(value, list | tuple):
            found.append((place, type(value), len(value)))
            for number, held in enumerate(value):
                visit(held, f"{place}[{number}]")
        else:
            found.append((place, type(value), value if isinstance(value, int | float | str | set) else ""))

    visit(network, "")
    return found


def held(network: nn.Module) -> set[int]:
    """Return the identities of the modules, tensors and tables of a network."""
    tables = {id(table) for module in network.modules() for table in vars(module).values() if type(table) is dict}
    tensors = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
    return {id(module) for module in network.modules()} | tensors | tables


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_copy_is_what_deepcopy_makes(kind: str) -> None:
    network = NETWORKS[kind]()
    before = reached(network)
    ours = copy_module(network)
    assert reached(ours) == reached(copy.deepcopy(network))
    assert reached(network) == before
    assert not held(ours) & held(network)


def test_what_is_copied_already_is_taken() -> None:
    network = NETWORKS["hooked"]()
    other = nn.Linear(2, 2)
    assert copy_module(network, {id(network[0]): other})[0] is other


def test_what_cannot_be_copied_is_refused_as_deepcopy_does() -> None:
    network = nn.Linear(2, 2)
    network.seen = [network.weight * 2]
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy_module(network)

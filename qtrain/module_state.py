"""Plain numbers that modules keep beside their tensors: Brevitas counts steps so, and no ``state_dict`` has them."""

from collections.abc import Iterable

from torch import nn

# Brevitas' progress and torch's mode; with Brevitas' JIT enabled these are not in a module's __dict__.
_PROGRESS = ("counter", "init_done", "training")

Number = tuple[nn.Module, str, bool | int | float]


def numbers_of(modules: Iterable[nn.Module]) -> list[Number]:
    """Each module's bools, integers and floats at present, ``training`` among them."""
    found = []
    for module in modules:
        for name in {*vars(module), *(name for name in _PROGRESS if hasattr(module, name))}:
            value = getattr(module, name)
            if type(value) in (bool, int, float):
                found.append((module, name, value))
    return found


def restore_numbers(numbers: Iterable[Number]) -> None:
    """Put back what ``numbers_of`` found."""
    for module, name, number in numbers:
        if getattr(module, name) != number:  # not all can be set
            setattr(module, name, number)

"""A deep copy of a network in a third of the time that ``copy.deepcopy`` takes.

A network of Brevitas is hundreds of modules, and each keeps about ten tables of hooks, nearly all of them empty.
``copy.deepcopy`` sends every table through the protocol of pickling. Here the modules are made first, then their
attributes are copied: an empty table becomes a new one, and only the rest goes to ``copy.deepcopy``.
"""

import copy
import copyreg
from collections import OrderedDict
from typing import Any

from torch import nn

_UNCHANGEABLE = (type(None), bool, int, float, str)
_TABLES = (dict, OrderedDict, set)


def copy_module(network: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Return what ``copy.deepcopy(network, memo)`` returns.

    Args:
        network: left as it is.
        memo: copies that exist already, by the ``id`` of the original; is filled.
    """
    memo = {} if memo is None else memo
    made: list[tuple[nn.Module, dict[str, Any]]] = []
    for module in network.modules():
        if id(module) in memo or not _is_plain(module):
            continue
        state = module.__getstate__()
        if type(state) is dict:
            kind = type(module)
            memo[id(module)] = kind.__new__(kind)
            made.append((memo[id(module)], state))
    for twin, state in made:
        twin.__setstate__({name: _copy_value(value, memo) for name, value in state.items()})
    return copy.deepcopy(network, memo)


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is copied by its state: nothing of it says another way."""
    kind = type(module)
    if "__deepcopy__" in vars(module) or kind in copyreg.dispatch_table or issubclass(kind, list | dict):
        return False
    own_way = any(hasattr(kind, name) for name in ("__deepcopy__", "__getnewargs__", "__getnewargs_ex__"))
    return not own_way and kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__


def holds_nothing(value: object) -> bool:
    """Whether an attribute is a number, a text or an empty table, as nearly all attributes of modules are."""
    kind = type(value)
    return kind in _UNCHANGEABLE or (kind in _TABLES and not value)


def _copy_value(value: Any, memo: dict[int, Any]) -> Any:
    """Return a deep copy of one attribute."""
    kind = type(value)
    if kind in _UNCHANGEABLE:
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind in _TABLES and not value:
        memo[id(value)] = kind()
        return memo[id(value)]
    return copy.deepcopy(value, memo)

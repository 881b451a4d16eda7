"""Bytes and operations of a step, counted from torch's own calls: what no kernel of its own could do without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from qtrain.models.fused.operators import LAUNCHES, READS

_NOTHING_MOVES = ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "set_", "detach")


class Traffic(TorchDispatchMode):
    """Counts what calls read and write, each call by itself; views move nothing.

    A fused operator's inputs count as often as its kernels read them.

    Attributes:
        calls: that move something; of a fused operator, its kernels.
        bytes: of their inputs and outputs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call, and count."""
        kwargs = kwargs or {}
        found = function(*args, **kwargs)
        if not _is_view(function) and function.overloadpacket.__name__ not in _NOTHING_MOVES:
            name = function.overloadpacket.__name__ if function.namespace == "qtrain" else ""
            reads = READS.get(name, 1)
            self.calls += LAUNCHES.get(name, 1)
            self.bytes += reads * sum(map(_bytes, _tensors((args, kwargs)))) + sum(map(_bytes, _tensors(found)))
        return found


def count(step: Callable[[], object]) -> tuple[Traffic, int]:
    """Take a step kernel by kernel; return its traffic, and the operations of its products and convolutions."""
    with FlopCounterMode(display=False) as operations, Traffic() as traffic:
        step()
    return traffic, int(operations.get_total_flops())


def _is_view(function: Any) -> bool:
    """Whether all that a call returns are other shapes of its inputs."""
    aliases = [returned.alias_info for returned in function._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _bytes(tensor: Tensor) -> int:
    """What lies in memory: a number that is broadcast is read once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())

"""A network in float64 whose own casts to float32 keep float64: in it that is the precision of all that it computes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

_CAST = torch.ops.aten._to_copy.default  # behind .float(), .to(), .type() and as_tensor
_TORCH, *_LIBRARIES = (f"{Path(str(sys.modules[name].__file__)).parent}/" for name in ("torch", "brevitas", "qtrain"))
_HERE = f"{Path(__file__).parents[1]}/"


class _KeepsFloat64(TorchDispatchMode):
    """A mode of torch in which the network's casts to float32 give float64, and those of the libraries float32."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as always, but for such a cast."""
        kwargs = kwargs or {}
        if func is _CAST and kwargs.get("dtype") is torch.float32 and _is_the_networks(sys._getframe(1)):
            kwargs = {**kwargs, "dtype": torch.float64}
        return func(*args, **kwargs)


def _is_the_networks(frame: FrameType | None) -> bool:
    """Tell whether the innermost code outside torch is none of Brevitas' or of this project's."""
    while frame is not None and frame.f_code.co_filename.startswith(_TORCH):
        frame = frame.f_back
    return frame is not None and not frame.f_code.co_filename.startswith((*_LIBRARIES, _HERE))


def keep_float64(network: nn.Module) -> None:
    """Let a network in float64 stay in it whatever its ``forward`` casts to float32.

    Args:
        network: a copy of one's own.
    """
    forward = network.forward

    def in_float64(*args: Any, **kwargs: Any) -> Any:
        with _KeepsFloat64():
            return forward(*args, **kwargs)

    network.forward = in_float64

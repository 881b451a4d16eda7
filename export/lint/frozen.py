"""The rule about what a trace freezes: Python that reads numbers of the image, to branch on or to compute with.

It reads them as numbers, as NumPy's or in lists, or by the size of a tensor that depends on them.

torch's own ``TracerWarning`` does not reach a user of Brevitas' exporter, and speaks of shapes too, which are the same
for every image. So one image is followed through the network instead: whatever is computed from it is marked, and
each read of a marked number by Python is noted with its line.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qtrain.export.lint.finding import WHOLE, Spot
from qtrain.export.lint.running import Trial

_MARK = "_qtrain_of_the_image"
_INDEX = torch.ops.aten.index.Tensor
# What leaves torch with all numbers of a tensor; NumPy's functions use the last.
_LEAVES = (Tensor.numpy, Tensor.tolist, Tensor.__array__)
_LIBRARIES = tuple(f"{Path(str(sys.modules[name].__file__)).parent}/" for name in ("torch", "brevitas"))


class _Lines:
    """The lines of the user's code that read numbers of the image.

    Args:
        paths: of the network's modules, by their ``id``.

    Attributes:
        read: file and line of each read, by the path of the module that reads.
    """

    def __init__(self, paths: Mapping[int, str]):
        self.read: dict[str, list[tuple[str, int]]] = {}
        self._paths = paths

    def note(self, frame: FrameType | None) -> None:
        """Keep the line outside torch that reads; what Brevitas reads is not the user's."""
        while frame is not None and frame.f_code.co_filename.startswith((_LIBRARIES[0], __file__)):
            frame = frame.f_back
        if frame is None or frame.f_code.co_filename.startswith(_LIBRARIES):
            return
        line = (frame.f_code.co_filename, frame.f_lineno)
        layer = WHOLE
        while frame is not None and layer == WHOLE:
            layer = self._paths.get(id(frame.f_locals.get("self")), WHOLE)
            frame = frame.f_back
        if line not in self.read.setdefault(layer, []):
            self.read[layer].append(line)


class _Reads(TorchDispatchMode):
    """A mode of torch that notes where Python reads a number of marked tensors, or how many of them there are."""

    def __init__(self, lines: _Lines):
        super().__init__()
        self._lines = lines

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as always; mark what is computed from marked tensors."""
        out = func(*args, **(kwargs or {}))
        if any(hasattr(leaf, _MARK) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)):
            if _tells_numbers(func, args):
                self._lines.note(sys._getframe(1))
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor):
                    setattr(leaf, _MARK, True)
        return out


def _tells_numbers(func: Any, args: tuple[Any, ...]) -> bool:
    """Tell whether an operator's result is a number for Python, or has a size that depends on numbers."""
    if torch.Tag.data_dependent_output in func.tags:  # behind if, bool, int, float, item and torch.equal
        return True
    if func is _INDEX:  # by numbers, which choose as many, or by truths
        return any(index is not None and index.dtype is torch.bool for index in args[1])
    return torch.Tag.dynamic_output_shape in func.tags


class _Leaving(TorchFunctionMode):
    """A mode of torch that notes where marked tensors become NumPy's arrays or lists."""

    def __init__(self, lines: _Lines):
        super().__init__()
        self._lines = lines

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as always."""
        if func in _LEAVES and hasattr(args[0], _MARK):
            self._lines.note(sys._getframe(1))
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def frozen_branches(trial: Trial) -> Iterator[Spot]:
    """Find reads of the image's numbers in ``forward``: the exported graph keeps what one image decided."""
    image = torch.zeros(1, *trial.shape)
    setattr(image, _MARK, True)
    lines = _Lines({id(module): path for path, module in trial.network.named_modules() if path})
    with _Reads(lines), _Leaving(lines):
        trial.network(image)
    for layer, read in lines.read.items():
        says = f"nothing, and computes otherwise than torch: the trace freezes one branch or value at {_named(read)}"
        yield Spot(layer, says)


def _named(lines: list[tuple[str, int]]) -> str:
    """Return lines of files with their text, in one line; files below the current folder by their path from there."""
    here = Path.cwd()
    found = []
    for file, number in lines:
        path = Path(file)
        name = path.relative_to(here) if path.is_relative_to(here) else path
        text = linecache.getline(file, number).strip()
        found.append(f"{name}:{number} ({text})" if text else f"{name}:{number}")
    return ", ".join(found)

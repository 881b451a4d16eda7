"""The rule about what a trace freezes: Python that reads numbers of the image, to branch on or to compute with.

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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qtrain.export.lint.finding import WHOLE, Spot
from qtrain.export.lint.running import Trial

_MARK = "_qtrain_of_the_image"
_READ = torch.ops.aten._local_scalar_dense.default  # behind if, bool, int, float and item
_LIBRARIES = tuple(f"{Path(str(sys.modules[name].__file__)).parent}/" for name in ("torch", "brevitas"))


class _Reads(TorchDispatchMode):
    """A mode of torch that notes where Python reads numbers that come from marked tensors.

    Args:
        paths: of the network's modules, by their ``id``.

    Attributes:
        lines: file and line of each read, by the path of the module that reads.
    """

    def __init__(self, paths: Mapping[int, str]):
        super().__init__()
        self.lines: dict[str, list[tuple[str, int]]] = {}
        self._paths = paths

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as always; mark what is computed from marked tensors."""
        out = func(*args, **(kwargs or {}))
        if any(hasattr(leaf, _MARK) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)):
            if func is _READ:
                self._note(sys._getframe(1))
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor):
                    setattr(leaf, _MARK, True)
        return out

    def _note(self, frame: FrameType | None) -> None:
        """Keep the line outside torch that reads; what Brevitas reads is not the user's."""
        while frame is not None and frame.f_code.co_filename.startswith(_LIBRARIES[0]):
            frame = frame.f_back
        if frame is None or frame.f_code.co_filename.startswith(_LIBRARIES):
            return
        line = (frame.f_code.co_filename, frame.f_lineno)
        layer = WHOLE
        while frame is not None and layer == WHOLE:
            layer = self._paths.get(id(frame.f_locals.get("self")), WHOLE)
            frame = frame.f_back
        if line not in self.lines.setdefault(layer, []):
            self.lines[layer].append(line)


@torch.no_grad()
def frozen_branches(trial: Trial) -> Iterator[Spot]:
    """Find reads of the image's numbers in ``forward``: the exported graph keeps what one image decided."""
    image = torch.zeros(1, *trial.shape)
    setattr(image, _MARK, True)
    with _Reads({id(module): path for path, module in trial.network.named_modules() if path}) as reads:
        trial.network(image)
    for layer, lines in reads.lines.items():
        says = f"nothing, and computes otherwise than torch: the trace freezes one branch or value at {_named(lines)}"
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

"""The forward pass through torch.compile, or plainly where it cannot be."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn


class Compiled:
    """Calls a module through ``torch.compile``; where compiling fails, says so once and calls it plainly from then on.

    Args:
        model: called in training mode; its parameters stay its own.
        backend: of ``torch.compile``.

    Attributes:
        works: whether the compiled module is in use.
    """

    def __init__(self, model: nn.Module, backend: Any = "inductor"):
        self.works = True
        self._model = model
        self._compiled = torch.compile(model, backend=backend)
        self._ran = False

    def __call__(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W]."""
        if not self.works:
            return self._model(images)
        # A module that was compiled once fails for its own reasons, which are the caller's to see.
        if self._ran:
            return self._compiled(images)
        try:
            logits: Tensor = self._compiled(images)
        except Exception as error:
            self.works = False
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"training goes on without --compile: {type(error).__name__}: {reason}", stacklevel=2)
            return self._model(images)
        self._ran = True
        return logits

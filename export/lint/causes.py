"""What makes other findings symptoms: weights that are no numbers, answers that are not the image's alone.

Both are looked at before the graph, whose rules would blame what follows from them.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from qtrain.export.lint.finding import WHOLE, Finding

TRAINING, TORCH = "before FINN: the training", "before FINN: torch itself"
RUNS = 4  # of the same images; a module that acts on every second or third call shows itself
_LEAVE = "leave no module in train mode; let functions follow the network: training=self.training"


def not_finite(network: nn.Module) -> Iterator[Finding]:
    """Weights and statistics that are NaN or infinite; variances below zero, whose root is NaN."""
    for name, tensor in chain(network.named_parameters(), network.named_buffers()):
        wrong = int((~tensor.isfinite()).sum()) if tensor.is_floating_point() else 0
        if wrong:
            layer, _, own = name.rpartition(".")
            says = f"nothing of use: {own} holds {wrong} of {tensor.numel()} values that are NaN or infinite, so its "
            says += "weights are not finite"
            mend = "train again from a checkpoint before they appeared, with a lower learning rate"
            yield Finding("not-finite", "error", layer or WHOLE, says, TRAINING, mend)
    for path, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_var is not None and bool((module.running_var < 0).any()):
            says = "nothing of use: running_var is below zero, and its root is NaN; its statistics are not finite"
            mend = "let the norm measure its statistics again: reset_running_stats(), then some passes in train mode"
            yield Finding("not-finite", "error", path, says, TRAINING, mend)


class _Looks(TorchDispatchMode):
    """Notes the layers in which random numbers are drawn, and those that act as in training.

    Attributes:
        random: names of the operators that draw, by path of the layer.
        training: paths of the layers whose normalisation takes the batch's statistics.
    """

    def __init__(self, paths: Mapping[int, str]):
        super().__init__()
        self.random: dict[str, str] = {}
        self.training: dict[str, None] = {}
        self._paths = paths

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as always; look at what is computed."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random.setdefault(self._layer(), str(func.overloadpacket.__name__))
        elif "batch_norm" in str(func) and _trains(func, args, kwargs or {}) and not _called_from("instance_norm"):
            self.training[self._layer()] = None
        return func(*args, **(kwargs or {}))

    def _layer(self) -> str:
        """The innermost module of the network that is at work."""
        frame = sys._getframe(2)
        while frame is not None:
            if path := self._paths.get(id(frame.f_locals.get("self")), ""):
                return path
            frame = frame.f_back  # type: ignore[assignment]
        return WHOLE


def _trains(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operator's own ``training`` is True."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.name == "training":
            return bool(args[position] if position < len(args) else kwargs.get("training", False))
    return "no_stats" in str(func) or "with_update" in str(func)


def _called_from(function: str) -> bool:
    """Whether a function of this name is being computed: a norm of each image is a batch norm to torch."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == function:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


@torch.no_grad()
def changing_answers(network: nn.Module, shape: tuple[int, ...]) -> Iterator[Finding]:
    """Random numbers, statistics of the batch, and states that move, in evaluation mode.

    Args:
        network: in evaluation mode, on the CPU; takes float images [N, C, H, W].
        shape: of one image, (C, H, W).
    """
    network = copy.deepcopy(network)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    looks = _Looks({id(module): path for path, module in network.named_modules() if path})
    with looks:
        network(images)
    answers = [_value(network(images)) for _ in range(RUNS)]
    for layer, operator in looks.random.items():
        says = f"nothing, and no proof can hold: random numbers are drawn in evaluation mode ({operator})"
        yield Finding("random", "error", layer, says, TORCH, f"{_LEAVE}; nn.Dropout does so by itself")
    for layer in looks.training:
        says = "nothing, and no proof can hold: it normalises with the statistics of the batch, so that an image's "
        says += "answer depends on the images beside it"
        mend = f"keep running statistics (track_running_stats=True), and {_LEAVE}"
        yield Finding("batch-statistics", "error", layer, says, TORCH, mend)
    if not looks.random and not looks.training and not all(_same(answer, answers[0]) for answer in answers):
        says = "nothing, and no proof can hold: the same images get other answers at each call, in evaluation mode"
        mend = "let forward depend on the image and the weights alone: no counter, no random of Python or numpy, no "
        mend += "state that it moves"
        yield Finding("moving-state", "error", WHOLE, says, TORCH, mend)


def _value(output: Any) -> Tensor:
    return getattr(output, "value", output)


def _same(left: Tensor, right: Tensor) -> bool:
    return bool(torch.allclose(left, right, rtol=0, atol=0, equal_nan=True))

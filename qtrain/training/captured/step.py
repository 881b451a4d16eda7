"""A whole training step as one CUDA graph: forward pass, loss, backward pass and update, launched at once.

A small network's step is hundreds of kernels of a few microseconds each, which Python launches slower than the GPU
computes them. A graph is launched whole. Its learning rates are numbers in the GPU's memory, one a parameter group, so
that ASLR's draws change neither the graph nor wait for the GPU.

Only a step that is the same every time is captured: of the usual number of images, in which neither Python's values nor
its random numbers move and the host reads nothing. The first replay is held against the same step taken kernel by
kernel. Where any of it fails, one line says why, and the kernels are launched one by one.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from qtrain.training.captured.graph import StepGraph
from qtrain.training.captured.repeated import Repeated, Words
from qtrain.training.captured.update import ROOM, comparisons, updated
from qtrain.triton_kernels import use_kernels

TRAINING = Words("training", "step")

Compute = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


def _nothing(loss: Tensor, clipped: bool) -> None:
    """Do nothing behind a step."""


@dataclass(frozen=True)
class Work:
    """The parts of a step, the same functions every time; what they do is in the graph.

    Attributes:
        batch: images, float [B, C, H, W], and labels, int64 [B], on the device, of which a graph reads a copy; or what
            gives them by launches alone, which are in the graph.
        images: B.
        compute: from images and labels to the loss, with gradients in the parameters that were None before.
        after: takes the loss, behind the update, and whether that has brought parameters back into their range.
        limits: of parameters that stay in [-limit, limit].
        moves: tensors that are moved in place beside the model's and the optimizer's.
    """

    batch: Batch | Callable[[], Batch]
    images: int
    compute: Compute
    after: Callable[[Tensor, bool], None] = _nothing
    limits: Mapping[Tensor, float] = field(default_factory=dict)
    moves: tuple[Tensor, ...] = ()


def can_capture(optimizer: Optimizer) -> bool:
    """Whether its step is the same kernels every time: those that search along a line ask for more than one loss."""
    return type(optimizer) in (SGD, Adam, AdamW)


def graphs_for(model: nn.Module) -> Any:
    """Return what runs the model's steps as CUDA graphs; None where it lies on no GPU."""
    return torch.cuda if any(parameter.is_cuda for parameter in model.parameters()) else None


class StaticStep:
    """Steps whose rates lie in the device's memory, captured as a CUDA graph where that can be.

    Args:
        model: whose parameters are trained.
        optimizer: torch's SGD, Adam or AdamW; its kernels become the fused ones, which read rates from memory.
        images: of a full batch; others are never captured.
        cuda: ``torch.cuda``, or what stands in for it; None runs all kernels one by one.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, images: int, cuda: Any = None):
        self._optimizer = optimizer
        self._images = images
        self._device = optimizer.param_groups[0]["params"][0].device
        self._rates = torch.zeros(len(optimizer.param_groups), device=self._device)
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._repeated = Repeated(TRAINING, model, self._device, cuda, optimizer)
        use_kernels(ROOM, self._device, comparisons)
        for group in optimizer.param_groups:
            group.update(fused=True, foreach=False)
            if "capturable" in group:
                group["capturable"] = False  # else Adam warns of steps outside of a graph
        for state in optimizer.state.values():
            if "step" in state:
                state["step"] = state["step"].to(self._device, torch.float32)

    @property
    def captured(self) -> bool:
        """Whether there is a graph to replay."""
        return self._repeated.captured

    @property
    def why_not(self) -> str | None:
        """Why steps will not be captured any more; None while they are or may be."""
        return self._repeated.why_not

    @property
    def graph(self) -> StepGraph | None:
        """What captures and replays; None where steps are never captured, or not any more."""
        return self._repeated.graph

    def step(self, work: Work, *, looks: bool = True) -> Tensor:
        """Take one step.

        Args:
            work: its parts.
            looks: see first whether a value of the model was set from outside, which the graph does not know.

        Returns:
            The loss before the step, a tensor that the next step may overwrite.
        """
        optimizer = self._optimizer
        for hook in list(optimizer._optimizer_step_pre_hooks.values()):  # ASLR draws here
            hook(optimizer, (), {})
        self._write_rates()
        if self.graph is None or work.images != self._images:
            loss = self._kernels(work)
        else:
            if isinstance(work.batch, tuple):
                work = replace(work, batch=self._fill(*work.batch))
            loss = self._repeated.take(partial(self._kernels, work), work.moves, looks=looks)
            if self.graph is None:  # it will not be captured any more
                self._inputs = None
        for hook in list(optimizer._optimizer_step_post_hooks.values()):
            hook(optimizer, (), {})
        return loss

    def _write_rates(self) -> None:
        rates = torch.tensor([float(group["lr"]) for group in self._optimizer.param_groups])
        pinned = rates.pin_memory() if self._rates.is_cuda else rates
        self._rates.copy_(pinned, non_blocking=True)

    def _fill(self, images: Tensor, labels: Tensor) -> Batch:
        """Copy a batch to where the graph reads it."""
        if self._inputs is None:
            self._inputs = torch.empty_like(images), torch.empty_like(labels)
        self._inputs[0].copy_(images)
        self._inputs[1].copy_(labels)
        return self._inputs

    def _kernels(self, work: Work, capturable: bool = False) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        batch = work.batch if isinstance(work.batch, tuple) else work.batch()
        loss = work.compute(*batch).detach()
        by_kernels = updated(self._optimizer, self._rates, work.limits)
        if not by_kernels:
            with self._rates_in_memory(capturable):
                self._optimizer.step()
        work.after(loss, by_kernels)
        return loss

    @contextmanager
    def _rates_in_memory(self, capturable: bool) -> Iterator[None]:
        """Inside, the groups' rates are numbers on the device, and the hooks, which ran already, are away."""
        optimizer: Any = self._optimizer
        groups = optimizer.param_groups
        kept = [{name: group[name] for name in ("lr", "capturable") if name in group} for group in groups]
        hooks = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
        optimizer._optimizer_step_pre_hooks = OrderedDict()
        optimizer._optimizer_step_post_hooks = OrderedDict()
        for i, group in enumerate(groups):
            group["lr"] = self._rates[i]
            if "capturable" in group:
                group["capturable"] = capturable  # Adam asks for it in a capture, and warns of it elsewhere
        try:
            yield
        finally:
            optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks = hooks
            for group, options in zip(groups, kept, strict=True):
                group.update(options)

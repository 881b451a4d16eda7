"""A whole training step as one CUDA graph: forward pass, loss, backward pass and update, launched at once.

A small network's step is hundreds of kernels of a few microseconds each, which Python launches slower than the GPU
computes them. A graph is launched whole. Its learning rates are numbers in the GPU's memory, one a parameter group, so
that ASLR's draws change neither the graph nor wait for the GPU.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

WARM_UP = 3  # ordinary steps before the capture, in which libraries choose their algorithms


def can_capture(optimizer: Optimizer) -> bool:
    """Whether its step is the same kernels every time: those that search along a line ask for more than one loss."""
    return type(optimizer) in (SGD, Adam)


class StaticStep:
    """Steps on fixed tensors: images, labels and rates are copied into them, then the same kernels run.

    Args:
        optimizer: torch's SGD or Adam; its kernels become the fused ones, which read rates from memory.
        compute: from images and labels to the loss, with gradients in the parameters that were None before.
        capture: replay a CUDA graph after the first steps; False runs the kernels one by one, as on a CPU.

    Attributes:
        failed: the capture did not work; use the optimizer itself from then on.
    """

    def __init__(self, optimizer: Optimizer, compute: Callable[[Tensor, Tensor], Tensor], *, capture: bool):
        self.failed = False
        self._optimizer, self._compute, self._capture = optimizer, compute, capture
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._loss = torch.zeros(())
        self._steps = 0
        self._device = optimizer.param_groups[0]["params"][0].device
        self._rates = torch.zeros(len(optimizer.param_groups), device=self._device)
        for group in optimizer.param_groups:
            group.update(fused=True, foreach=False)
            if "capturable" in group:
                group["capturable"] = self._device.type == "cuda"
        for state in optimizer.state.values():
            if "step" in state:
                state["step"] = state["step"].to(self._device, torch.float32)

    @property
    def captured(self) -> bool:
        """Whether there is a graph to replay."""
        return self._graph is not None

    def takes(self, images: Tensor) -> bool:
        """Whether a batch has the shape of the first: the last of an epoch may be smaller."""
        return not self.failed and (self._inputs is None or self._inputs[0].shape == images.shape)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one step.

        Args:
            images: float [B, C, H, W] on the device.
            labels: int64 [B].

        Returns:
            The loss before the step, a tensor that the next step overwrites.
        """
        if self._inputs is None:
            self._inputs = torch.empty_like(images), torch.empty_like(labels)
        for fixed, given in zip(self._inputs, (images, labels), strict=True):
            fixed.copy_(given)
        hooks = self._optimizer._optimizer_step_pre_hooks
        for hook in list(hooks.values()):  # ASLR draws here
            hook(self._optimizer, (), {})
        rates = torch.tensor([float(group["lr"]) for group in self._optimizer.param_groups])
        pinned = rates.pin_memory() if self._device.type == "cuda" else rates
        self._rates.copy_(pinned, non_blocking=True)
        if self._graph is None and self._capture and self._steps >= WARM_UP:
            self._record(*self._inputs)
        if self._graph is None:
            self._eager(*self._inputs)
        else:
            self._graph.replay()
        self._steps += 1
        for hook in list(self._optimizer._optimizer_step_post_hooks.values()):
            hook(self._optimizer, (), {})
        return self._loss

    def _kernels(self, images: Tensor, labels: Tensor) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self._loss = self._compute(images, labels).detach()
        with self._rates_in_memory():
            self._optimizer.step()

    def _eager(self, images: Tensor, labels: Tensor) -> None:
        if not self._capture:
            return self._kernels(images, labels)
        # What a capture needs to be set up is set up on a stream like its own.
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            self._kernels(images, labels)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        return None

    def _record(self, images: Tensor, labels: Tensor) -> None:
        """Capture without running; on failure the step at hand, and all others, go the ordinary way."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._kernels(images, labels)
        except Exception as error:
            self.failed, self._capture = True, False
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"training goes on without a CUDA graph: {reason}", stacklevel=3)
            return
        self._graph = graph

    @contextmanager
    def _rates_in_memory(self) -> Iterator[None]:
        """Inside, the groups' rates are numbers on the device, and the hooks, which ran already, are away."""
        optimizer: Any = self._optimizer
        groups = optimizer.param_groups
        rates = [group["lr"] for group in groups]
        hooks = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
        optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks = OrderedDict(), OrderedDict()
        for i, group in enumerate(groups):
            group["lr"] = self._rates[i]
        try:
            yield
        finally:
            optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks = hooks
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

"""Where a check runs: a GPU with torch.cuda, or a CPU with the stand-in that the tests have for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch

import qtrain.data.augment as augment
import qtrain.experiments.lr_range as lr_range
import qtrain.training.setup as setup
from qtrain.training.captured.repeated import WARM_UP


@dataclass(frozen=True)
class Place:
    """A device, what stands for ``torch.cuda`` there, and how large the checks are.

    Attributes:
        device: where tensors lie.
        cuda: ``torch.cuda``, or ``tests.replay.Replay`` on a CPU.
        width: of the networks.
        batch: images of a full batch.
        full: full batches an epoch, more than the steps before a capture; a smaller one comes last.
        size: height and width of the images.
    """

    device: torch.device
    cuda: Any
    width: float = 1.0
    batch: int = 100
    full: int = WARM_UP + 3
    size: int = 32

    @property
    def is_gpu(self) -> bool:
        """Whether this is a real one."""
        return self.device.type == "cuda"

    @property
    def images(self) -> int:
        """Of an epoch."""
        return self.full * self.batch + max(2, self.batch // 3)

    @property
    def name(self) -> str:
        """Of the device, for records."""
        return torch.cuda.get_device_name(self.device) if self.is_gpu else "cpu"

    def fresh(self) -> Place:
        """Return the same place, on a CPU with a stand-in that no capture has touched."""
        return self if self.is_gpu else replace(self, cuda=type(self.cuda)())

    def other(self) -> Place | None:
        """Return this place on a device that is not the current one; None where there is one GPU."""
        if not self.is_gpu:
            return replace(self, cuda=type(self.cuda)(index=1))
        last = torch.cuda.device_count() - 1
        return replace(self, device=torch.device("cuda", last)) if last else None

    def wait(self) -> None:
        """Return when the device has done its work."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Inside, runs on a CPU are captured by the stand-in, and crop on the device as a GPU does."""
        if self.is_gpu:
            yield
            return
        with ExitStack() as stack:
            for module in (setup, lr_range):
                if hasattr(module, "graphs_for"):
                    stack.enter_context(patch.object(module, "graphs_for", lambda model: self.cuda))
            stack.enter_context(patch.object(augment, "crop_flip_slices", augment.crop_flip_gather))
            yield

    def left_behind(self) -> list[str]:
        """Name what a capture has left otherwise than it was; empty where all is well."""
        if not self.is_gpu:
            found: list[str] = self.cuda.left_behind()
            return found
        cuda = torch.cuda
        states = {
            "a capture is under way": cuda.is_current_stream_capturing(),
            "the sync debug mode": cuda.get_sync_debug_mode() != 0,
        }
        for index in range(cuda.device_count()):
            states[f"the current stream of cuda:{index}"] = cuda.current_stream(index) != cuda.default_stream(index)
        try:
            with cuda.device(self.device):
                torch.nn.functional.dropout(torch.ones(1000, device=self.device)).sum().item()
        except RuntimeError as error:
            states[f"no dropout: {str(error).splitlines()[0]}"] = True
        return [name for name, moved in states.items() if moved]


def make_place(device: str, **sizes: Any) -> Place:
    """Return the place of a device by name; the CPU's stand-in is the tests'."""
    if device.startswith("cuda"):
        return Place(torch.empty(0, device=device).device, torch.cuda, **sizes)
    from tests.replay import Replay  # which only a checkout has

    return Place(torch.device("cpu"), Replay(), **sizes)


def before_cuda_starts() -> None:
    """Let cuBLAS be deterministic; it reads this once."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def deterministic(place: Place) -> Iterator[None]:
    """Inside, the same kernels give the same bits each time, so that a graph's bits may be held against theirs.

    Some of cuDNN's and torch's kernels for gradients add with atomics, in an order of chance. Without those a captured
    step that differs from an ordinary one in any bit computes something else. Kernels that have no deterministic
    version run all the same; where they then differ from themselves, ``trial.agreement`` measures by how much.
    """
    if not place.is_gpu:
        yield
        return
    import torch._inductor.config as inductor

    cudnn: Any = torch.backends.cudnn
    kept = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    torch.use_deterministic_algorithms(True, warn_only=True)
    options = {"deterministic": True} if hasattr(inductor, "deterministic") else {}
    try:
        with inductor.patch(options):
            yield
    finally:
        torch.use_deterministic_algorithms(False)
        cudnn.benchmark, cudnn.deterministic = kept

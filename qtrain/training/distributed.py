"""Several processes that train one run: each computes its share of every batch, and all take the same step.

``torchrun`` starts the processes and says in the environment which is which. What they have computed is averaged over
the whole batch in the closure of a step: the loss, the gradients, and the statistics that forward passes collect. So
weights, statistics and decisions are equal on all ranks after every step, and a checkpoint knows nothing of ranks.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from qtrain.errors import UserError

_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_STREAM = 0x52414E4B  # keeps these draws apart from any other use of the same seed
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes of a run. Alone, every method leaves what it is given as it is.

    Methods that speak of other ranks must be called by all of them; they raise UserError where one has ended.

    Attributes:
        rank: number of this process, 0 to size - 1.
        size: number of processes.
        store: keys and values that all of them see; None where it was another who made them meet.
    """

    rank: int = 0
    size: int = 1
    store: dist.Store | None = None

    @property
    def is_first(self) -> bool:
        """Whether this one writes, and talks to the user."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.size == 1

    def check_batch(self, batch_size: int) -> None:
        """See that a mini-batch leaves every rank two images.

        Raises:
            UserError: it does not.
        """
        if not self.alone and batch_size < 2 * self.size:
            raise UserError(
                f"batch_size {batch_size} is too small for {self.size} ranks: it is shared out among them, and "
                f"BatchNorm needs 2 images on each; choose {2 * self.size} or more, or a smaller --nproc-per-node"
            )

    def any(self, flag: bool) -> bool:
        """Whether the flag is true on any rank."""
        if self.alone:
            return flag
        # On the CPU, where no GPU has to be waited for.
        return bool(self.sum(torch.tensor(int(flag))).item())

    def wait(self) -> None:
        """Wait until all ranks are here."""
        self.any(False)

    def first(self, value: T) -> T:
        """Return the first rank's value."""
        if self.alone:
            return value
        values = [value]
        with _others():
            dist.broadcast_object_list(values)
        return values[0]

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all ranks, in place; every rank has the same bits then."""
        if not self.alone:
            with _others():
                dist.all_reduce(tensor)
        return tensor

    @torch.no_grad()
    def start_alike(self, model: nn.Module) -> None:
        """Give every rank the first one's parameters and buffers."""
        if self.alone:
            return
        with _others():
            for tensor in (*model.parameters(), *model.buffers()):
                values = tensor.detach().contiguous()
                dist.broadcast(values, 0)
                tensor.copy_(values)

    def seed_step(self, seed: int, epoch: int, step: int) -> None:
        """Let dropout and the like draw what follows from the step and the rank alone, whatever was drawn before."""
        if not self.alone:
            words = np.random.SeedSequence((_STREAM, seed, epoch, step, self.rank)).generate_state(1, np.uint64)
            torch.manual_seed(int(words[0]))

    @torch.no_grad()
    def mean_step(self, model: nn.Module, loss: Tensor, images: int, *, gradients: bool) -> Tensor:
        """Make the whole batch's of what a pass over this rank's share has found.

        Statistics are means weighted by the ranks' images: exact for a mean, while the mean of variances lacks the
        variance between the shares. What is equal on all ranks keeps its bits.

        Args:
            model: its statistics become those of all ranks.
            loss: mean over this rank's images, a scalar.
            images: that this rank had, 1 or more.
            gradients: whether the model's gradients, of ``loss``, are to be averaged too.

        Returns:
            The mean loss over the images of all ranks, detached; alone it is ``loss`` itself.
        """
        if self.alone:
            return loss
        found = _collected(model)
        # In float64 a float32 times a count is exact, and so is the mean of equal ones.
        values = torch.cat([loss.new_ones(1, dtype=torch.float64), *(t.reshape(-1).double() for t in (loss, *found))])
        total, means = self.sum(values * images).split([1, len(values) - 1])
        mean_loss, *statistics = _cut(means / total, [loss, *found])
        for tensor, mean in zip(found, statistics, strict=True):
            tensor.copy_(mean)
        if gradients:
            trained = [p for p in model.parameters() if p.requires_grad]
            filled = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
            flat = torch.cat([gradient.reshape(-1) for gradient in filled]) * (images / total).to(filled[0].dtype)
            for parameter, gradient in zip(trained, _cut(self.sum(flat), filled), strict=True):
                if parameter.grad is not None:
                    parameter.grad.copy_(gradient)
        return mean_loss.to(loss.dtype)

    @torch.no_grad()
    def mean(self, tensors: list[Tensor]) -> None:
        """Average float tensors over the ranks, in place, each rank counting the same."""
        if tensors and not self.alone:
            flat = self.sum(torch.cat([tensor.reshape(-1).double() for tensor in tensors])) / self.size
            for tensor, mean in zip(tensors, _cut(flat, tensors), strict=True):
                tensor.copy_(mean)

    @contextmanager
    def shared_norms(self, model: nn.Module) -> Iterator[None]:
        """Inside, torch's BatchNorms on GPUs normalise by the whole batch; on the CPU torch has no such module."""
        shared = not self.alone and any(p.is_cuda for p in model.parameters())
        norms = [m for m in model.modules() if shared and type(m) in _NORMS]
        kinds = [type(norm) for norm in norms]
        try:
            for norm in norms:
                norm.process_group = None  # type: ignore[assignment]  # all ranks
                norm.__class__ = nn.SyncBatchNorm
            yield
        finally:
            for norm, kind in zip(norms, kinds, strict=True):
                norm.__class__ = kind


ALONE = Ranks()


def join() -> Ranks:
    """Find the other ranks that torchrun has started; without it, or with one process, there are none.

    Raises:
        UserError: the environment speaks of several processes, but is not torchrun's, or not all of them come.
    """
    size = _world_size()
    if size < 2:
        return ALONE
    if dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    if missing := [name for name in _NEEDED if name not in os.environ]:
        raise UserError(f"WORLD_SIZE is {size}, but {', '.join(missing)} are not set; start with torchrun")
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    with _others():
        store, rank, ranks = next(dist.rendezvous("env://"))
        own = dist.PrefixStore("qtrain", store)
        dist.init_process_group("cpu:gloo,cuda:nccl" if nccl else "gloo", store=own, rank=rank, world_size=ranks)
    return Ranks(rank, ranks, store)


def own_gpu(name: str) -> str:
    """Under torchrun, turn ``auto`` and ``cuda`` into the GPU of this process, and make it the current one.

    Args:
        name: the device as the user gave it; it comes back where there is nothing to choose.

    Raises:
        UserError: there are more processes than GPUs, or one GPU was named for all of them.
    """
    if _world_size() < 2 or name == "cpu":
        return name
    if name not in ("auto", "cuda"):
        raise UserError(f"device {name!r} is one for all ranks; use auto, cpu or cuda, which gives each its own")
    if not torch.cuda.is_available():
        return name
    local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= gpus:
        raise UserError(f"rank {local} of this machine has no GPU of its own; use --nproc-per-node {gpus}")
    torch.cuda.set_device(local)
    return f"cuda:{local}"


@contextmanager
def one_voice() -> Iterator[Ranks]:
    """For a command: join the ranks; of several that fail or are stopped only one says so.

    torchrun ends the others once one has failed, so the first to fail speaks. A rank that was stopped with the others
    ends with status 0, since torchrun would else end the first before it has spoken.
    """
    ranks = join()
    try:
        yield ranks
    except KeyboardInterrupt:
        if not ranks.is_first:
            sys.exit(0)
        raise
    except (UserError, OSError):
        if ranks.store and not _fails_first(ranks.store):
            sys.exit(2)
        raise
    if not ranks.alone:
        ranks.wait()  # the first rank serves what the others need to leave
        dist.destroy_process_group()


def _world_size() -> int:
    size = os.environ.get("WORLD_SIZE", "1")
    return int(size) if size.isdecimal() else 1


def _fails_first(store: dist.Store) -> bool:
    try:
        return int(store.add("failed", 1)) == 1
    except RuntimeError:  # it was the first rank's, which has ended before
        return False


@contextmanager
def _others() -> Iterator[None]:
    """Around what needs the other ranks."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"another rank has ended or cannot be reached ({reason}); see what it said") from None


def _collected(model: nn.Module) -> list[Tensor]:
    """What forward passes move: float buffers, and the ranges that Brevitas sets after having collected statistics."""
    ranges = [p for m in model.modules() if hasattr(m, "collect_stats_steps") for p in m.parameters(recurse=False)]
    return [*(buffer for buffer in model.buffers() if buffer.is_floating_point()), *ranges]


def _cut(flat: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Parts of ``flat`` in the shapes of ``like``."""
    parts = flat.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]

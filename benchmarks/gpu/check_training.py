"""A whole run of `train`: no warnings, no waiting for the device, nothing kept afterwards."""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from weakref import ref

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.gpu.check_resume import Sessions
from benchmarks.gpu.data import data_set
from benchmarks.gpu.place import Place
from benchmarks.gpu.report import Say
from benchmarks.gpu.trial import short_recipe
from qtrain.models import build_model
from qtrain.recipe import Recipe
from qtrain.training import train
from qtrain.training.context import RunContext

# torch says it once a process, of Brevitas' evaluation, which drops the names of tensors that have none.
KNOWN = "Named tensors and all their associated APIs"
SYNCHRONIZED = "called a synchronizing CUDA operation"  # torch's words
COPIES_A_STEP = 1  # of the rates, from pinned memory, without waiting
STEPS_LOOKED_AT = 2


def check_training(network: str, place: Place, say: Say) -> None:
    """What a run does beside computing."""
    for check in (check_warnings, check_waiting, check_kept):
        check(network, place.fresh(), say)


def _recipe(network: str, place: Place) -> Recipe:
    return short_recipe(network, place, optimizer="adam", momentum=0.0)


def train_once(recipe: Recipe, place: Place, sessions: Sessions) -> nn.Module:
    """Train as a user does, on a few images."""
    model = build_model(recipe)
    with tempfile.TemporaryDirectory() as scratch, place.standing_in(), sessions.noted():
        out, data = Path(scratch) / "run", data_set(place.images, place.size)
        train(model, recipe, out, data=data, context=RunContext(device=str(place.device), watch=sessions))
    return model


def check_warnings(network: str, place: Place, say: Say) -> None:
    """Nothing of torch's, Brevitas' or this project's warns."""
    with warnings.catch_warnings(record=True) as caught, _accelerator(place):
        warnings.simplefilter("always")
        train_once(_recipe(network, place), place, Sessions())
    lines = [str(warning.message).strip().splitlines()[0] for warning in caught]
    lines = [line for line in lines if KNOWN not in line]
    say("a whole run gives no warning", not lines, "; ".join(dict.fromkeys(lines)))


@contextmanager
def _accelerator(place: Place) -> Iterator[None]:
    """Inside, torch's Adam asks the stand-in whether a step is captured, as it asks a GPU."""
    if place.is_gpu:
        yield
        return

    class Now:
        def is_capturing(self) -> bool:
            return bool(place.cuda.is_current_stream_capturing())

    accelerator: Any = torch.accelerator
    with (
        patch.object(accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda")),
        patch.object(accelerator, "current_stream", lambda device=None: Now()),
    ):
        yield


def check_waiting(network: str, place: Place, say: Say) -> None:
    """Some steps in the middle of the last epoch, which are replays of a graph by then."""
    first = place.full + 2
    copies, stack = Copies(), ExitStack()

    def each(steps: int) -> None:
        if steps == first:
            stack.enter_context(copies)
            place.cuda.set_sync_debug_mode("warn")
        elif steps == first + STEPS_LOOKED_AT:
            place.cuda.set_sync_debug_mode("default")
            stack.close()

    sessions = Sessions(each=each)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            train_once(_recipe(network, place), place, sessions)
        finally:
            place.cuda.set_sync_debug_mode("default")
            stack.close()
    where = [f"{Path(w.filename).name}:{w.lineno}" for w in caught if SYNCHRONIZED in str(w.message)]
    if not place.is_gpu:  # ASLR's draws are the host's, made with device="cpu", which the stand-in takes for its own
        where = [line for line in where if not line.startswith("aslr.py")]
    places = ", ".join(dict.fromkeys(where))
    say("no step waits for the device", not where, f"{len(where)} in {STEPS_LOOKED_AT} steps {places}".rstrip())
    say("steps were captured meanwhile", sessions.replays > 0, f"{sessions.replays} steps with a graph")
    if place.is_gpu:  # on a CPU nothing tells a copy to the device from another
        most = COPIES_A_STEP * STEPS_LOOKED_AT
        detail = f"{copies.to_device} to the device, {copies.to_host} back, in {STEPS_LOOKED_AT} steps"
        say("copies a step", copies.to_device <= most and copies.to_host == 0, detail)


class Copies(TorchDispatchMode):
    """Counts copies between the host and the device; those within a replayed graph are not seen.

    Attributes:
        to_device: from the host.
        to_host: back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.to_device = self.to_host = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call, and look where operands and result lie."""
        found = function(*args, **(kwargs or {}))
        packet = function.overloadpacket
        if packet in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            sources = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)]
            source, target = sources[-1].device.type, found.device.type
            self.to_device += source == "cpu" and target != "cpu"
            self.to_host += source != "cpu" and target == "cpu"
        return found


def check_kept(network: str, place: Place, say: Say) -> None:
    """Session, graph and data go when `train` returns, without the garbage collector."""
    held: list[Any] = []

    def each(steps: int) -> None:
        session = sessions.seen[-1]()
        if steps == 1 and session is not None:
            held.append(("the data", ref(session.batches)))
        if steps == 2 * place.full and session is not None and session._static is not None:
            held.extend([("the session", ref(session)), ("the step", ref(session._static))])
            held.extend([("the graph", ref(session._static.graph))] if session._static.graph else [])

    levels = []
    for _ in range(2):  # the first one leaves libraries' workspaces
        sessions = Sessions(each=each)
        held.clear()
        gc.collect()
        gc.disable()
        try:
            train_once(_recipe(network, place), place, sessions)
            alive = [name for name, reference in held if reference() is not None]
        finally:
            gc.enable()
        gc.collect()
        levels.append(_allocated(place))
    say("nothing is kept after train", len(held) == 4 and not alive, ", ".join(alive) or f"{len(held)} looked at")
    say(
        "no memory of the device is kept", levels[1] <= levels[0], f"{levels[1] - levels[0]:+,} bytes with a second run"
    )


def _allocated(place: Place) -> int:
    """Bytes of the device that tensors hold; cuBLAS keeps some for each stream that it ran on."""
    if not place.is_gpu:
        return 0
    place.wait()
    getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)()
    return int(torch.cuda.memory_allocated(place.device))

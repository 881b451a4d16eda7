"""The fused kernels on this GPU: each against its plain form, and a short run with them against one without."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from benchmarks.gpu.place import Place
from benchmarks.gpu.report import Say
from benchmarks.gpu.trial import run, short_recipe
from qtrain.data import crop_operator
from qtrain.models import build_model
from qtrain.models.fused import operators, self_check
from qtrain.training.captured import update
from qtrain.triton_kernels import Checks, trust, trusted, why_not

Comparisons = Callable[[torch.device], Checks]
ROOMS: tuple[tuple[str, Comparisons], ...] = (
    (operators.ROOM, self_check.comparisons),
    (crop_operator.ROOM, crop_operator.comparisons),
    (update.ROOM, update.comparisons),
)
FIRST = 3  # steps whose losses are compared: later ones drift apart from the first rounding that flips
DRIFT = 0.02  # of a loss


def check_kernels(network: str, place: Place, say: Say) -> None:
    """Check all rooms of kernels, then a network that trains with all of them."""
    right = True
    for room, comparisons in ROOMS:
        reason = why_not(place.device, comparisons)
        say(f"kernels {room} agree with their plain forms", reason is None, reason or "")
        right &= reason is None
    if right:
        _check_run(network, place, say)


def _check_run(network: str, place: Place, say: Say) -> None:
    recipe = short_recipe(network, place, precision="fast", jitter=0.0, epochs=1)

    def make() -> torch.nn.Module:
        torch.manual_seed(0)
        return build_model(network, width=place.width)

    losses = []
    for kernels in (False, True):
        with warnings.catch_warnings(), _computing(place.device, kernels=kernels):
            warnings.simplefilter("ignore")
            trace = run(make, recipe, place, captures=kernels)
        losses.append([float(step.tensors["loss"]) for step in trace.steps[1 : FIRST + 1]])
    apart = max(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True))
    say(f"{network} trains with the kernels as without", apart < DRIFT, f"losses of {FIRST} steps off by {apart:.1e}")


@contextmanager
def _computing(device: torch.device, *, kernels: bool) -> Iterator[None]:
    """Inside, the kernels compute on ``device``, or the plain forms."""
    before = {room: trusted(room, device) for room, _ in ROOMS}
    for room, _ in ROOMS:
        trust(room, device, kernels=kernels)
    try:
        yield
    finally:
        for room, kept in before.items():
            trust(room, device, kernels=kept)

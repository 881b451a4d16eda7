"""Captured steps are the steps taken kernel by kernel: every step, every tensor, over an epoch's end."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.own_networks import Annealed, Collecting, Reads, ReadsInCapture, own
from benchmarks.gpu.place import Place, deterministic
from benchmarks.gpu.report import Say
from benchmarks.gpu.trial import Make, Trace, agreement, run, short_recipe
from qtrain.models import build_model
from qtrain.recipe import Recipe
from qtrain.training.captured.repeated import WARM_UP

COLLECTING_STEPS = 4


def check_network(network: str, place: Place, say: Say, **changes: Any) -> None:
    """A network of the zoo is captured, and trains to the same bits."""
    recipe = short_recipe(network, place, **changes)
    name = "captured" + "".join(f", {value if option != 'compile' else option}" for option, value in changes.items())
    _captured_is_ordinary(zoo(recipe), recipe, place, say, name)


def zoo(recipe: Recipe) -> Make:
    """Return what builds the recipe's network, with the same weights each time."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        return build_model(recipe)

    return make


def check_other_device(network: str, place: Place, say: Say) -> bool:
    """A device that is not the current one captures and replays its own kernels; False where there is none."""
    other = place.other()
    if other is None:
        return False
    recipe = short_recipe(network, other)
    _captured_is_ordinary(zoo(recipe), recipe, other, say, "captured on another device")
    return True


def check_own_networks(place: Place, say: Say) -> None:
    """What Python decides anew at each step is followed: by a later capture, or without one."""
    recipe = short_recipe("own", place, optimizer="adam", momentum=0.0)
    _captured_is_ordinary(own(lambda: nn.Dropout(0.3)), recipe, place, say, "dropout: captured")
    collecting = own(lambda: Collecting(COLLECTING_STEPS))
    longer = recipe.replace(epochs=3)
    found = _captured_is_ordinary(collecting, longer, place, say, "statistics for some steps: captured")
    late = 0 < found.replays <= 3 * place.full - COLLECTING_STEPS - WARM_UP
    say("statistics for some steps: captured after them", late, f"{found.replays} replays of {3 * place.full} steps")
    _plain_is_right(own(Annealed), recipe, place, say, "a number annealed in forward")


def check_failed_captures(place: Place, say: Say) -> None:
    """A step that cannot be captured goes on and is right, and so is the next capture of the process."""
    place = place.fresh()
    recipe = short_recipe("own", place)
    _plain_is_right(own(Reads), recipe, place, say, "the host reads")
    reads_in_capture = own(lambda: ReadsInCapture(place.cuda.is_current_stream_capturing))
    found = _plain_is_right(reads_in_capture, recipe, place, say, "a capture that fails")
    say("a capture that fails: one line says why", "its capture failed" in str(found.why_not), str(found.why_not))
    left = place.left_behind()
    say("a capture that fails: nothing is left behind", not left, ", ".join(left))
    _captured_is_ordinary(own(lambda: nn.Dropout(0.3)), recipe, place, say, "after it: captured")


def _captured_is_ordinary(make: Make, recipe: Recipe, place: Place, say: Say, name: str) -> Trace:
    captured = _both(make, recipe, place, say, f"{name} = kernel by kernel")
    full = recipe.epochs * place.full
    why = captured.why_not or f"{captured.replays} replays of {full} full batches"
    say(f"{name} indeed", captured.replays > 0, why)
    return captured


def _plain_is_right(make: Make, recipe: Recipe, place: Place, say: Say, name: str) -> Trace:
    captured = _both(make, recipe, place, say, f"{name}: goes on, and is right")
    say(f"{name}: is not captured", captured.replays == 0, captured.why_not or f"{captured.replays} replays")
    return captured


def _both(make: Make, recipe: Recipe, place: Place, say: Say, name: str) -> Trace:
    """The captured run, held against the ordinary one."""
    with warnings.catch_warnings(), deterministic(place):
        warnings.simplefilter("ignore")  # the check of a whole run looks at those
        captured = run(make, recipe, place, captures=True)
        ordinary = run(make, recipe, place, captures=False)
        passed, detail = agreement(captured, ordinary, lambda: run(make, recipe, place, captures=False))
    say(name, passed, detail)
    return captured

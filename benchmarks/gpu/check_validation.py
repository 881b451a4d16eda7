"""A captured validation is the one taken kernel by kernel, and Brevitas' own; the host waits for it once."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.gpu.data import images
from benchmarks.gpu.place import Place, deterministic
from benchmarks.gpu.report import Say
from qtrain.models import build_model
from qtrain.models.fast_forward import fast_forward
from qtrain.recipe import default_recipe
from qtrain.training import evaluate
from qtrain.training.evaluation import Evaluation
from qtrain.training.validation import Validation

VALIDATIONS = 5  # the first two look, the third has captured all that there is
FULL = 3  # batches of a validation, and a smaller one
SYNCHRONIZED = "called a synchronizing CUDA operation"  # torch's words
CLOSE = 1e-5  # of the loss, where Brevitas' forward pass adds in another order


def check_validation(network: str, place: Place, say: Say) -> None:
    """Validate a network again and again, with weights that are moved in place between, as training moves them."""
    place = place.fresh()
    with deterministic(place):
        model = _model(network, place)
        split = images(FULL * place.batch + 3, place.size, seed=1).to(place.device)
        captured, ordinary = (
            Validation(model, split, F.cross_entropy, place.cuda, captures=captures, images=place.batch)
            for captures in (True, False)
        )
        found: list[Evaluation] = []
        wanted: list[Evaluation] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # why_not says it
            for number in range(VALIDATIONS):
                _move(model, number)
                if number < VALIDATIONS - 1:
                    found.append(captured.evaluate())
                else:
                    waits = _waits(captured, found, place)
                wanted.append(ordinary.evaluate())
            theirs = evaluate(model, split, F.cross_entropy, place.batch)
            chosen = Validation(model, split, F.cross_entropy, place.cuda, captures=False)
            other = chosen.evaluate()
    differ = sum(repr(ours) != repr(plain) for ours, plain in zip(found, wanted, strict=True))
    say("a captured validation = kernel by kernel", differ == 0, f"{differ} of {VALIDATIONS} differ")
    say("a validation is captured indeed", captured.captured, captured.why_not or f"{FULL} batches and a smaller one")
    say("the host waits once in a captured validation", waits == 1, f"{waits} times")
    off = abs(found[-1].loss - theirs.loss) / abs(theirs.loss)
    others = abs(other.loss - theirs.loss) / abs(theirs.loss)
    detail = f"loss off by {off:.1e}, in batches of {chosen.images} by {others:.1e}"
    say("a validation is Brevitas'", found[-1].accuracy == theirs.accuracy and off < CLOSE, detail)
    left = place.left_behind()
    say("a captured validation leaves nothing behind", not left, ", ".join(left))


def _model(network: str, place: Place) -> nn.Module:
    """A network whose statistics are of something."""
    torch.manual_seed(0)
    recipe = default_recipe(network, "cifar10").replace(width=place.width)
    model = build_model(recipe).to(place.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast_forward(model)
    shown = images(place.batch, place.size).images.to(place.device).float() / 255
    with torch.no_grad():
        for _ in range(3):
            model.train()(shown)
    return model  # type: ignore[no-any-return]


@torch.no_grad()
def _move(model: nn.Module, number: int) -> None:
    for parameter in model.parameters():
        parameter.mul_(1 + 0.01 * number)


def _waits(validation: Validation, found: list[Evaluation], place: Place) -> int:
    """Validate, and count how often the host waits for the device."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        place.cuda.set_sync_debug_mode("warn")
        try:
            found.append(validation.evaluate())
        finally:
            place.cuda.set_sync_debug_mode("default")
    return sum(SYNCHRONIZED in str(warning.message) for warning in caught)

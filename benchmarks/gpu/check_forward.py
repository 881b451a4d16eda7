"""The fast and the compiled forward pass against Brevitas' own, on one device.

Brevitas' arithmetic in float32 and a step of torch's own optimizer are the reference. Two float32 paths drift apart
from the first rounding that flips a quantized value on, so losses and gradients are held to limits, and classes to
float64's.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.gpu.data import images
from benchmarks.gpu.place import Place
from benchmarks.gpu.report import Say
from qtrain.data import Batches, Split
from qtrain.export import ProofError, export_finn
from qtrain.models import build_model
from qtrain.models.fast_forward import fast_forward, plain_forward
from qtrain.recipe import Recipe, default_recipe
from qtrain.training.losses import LOSSES
from qtrain.training.setup import make_session
from qtrain.training.tf32 import tf32

STEPS = 20


@dataclass(frozen=True)
class Limits:
    """How far a path may lie from the reference: the mean loss, in shares of it, and the gradients' cosine."""

    drift: float
    cosine: float


EXACT, FAST = Limits(0.02, 0.999), Limits(0.05, 0.98)


def check_forward(network: str, place: Place, say: Say, compiled: bool) -> None:
    """Check the paths of one network; ``compiled`` chooses those through torch.compile, alone."""
    split = images(STEPS * place.batch, place.size).to(place.device)
    recipe = default_recipe(network, "cifar10").replace(lr=0.005, batch_size=place.batch, width=place.width)
    torch.manual_seed(0)
    start = build_model(recipe).to(place.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    reference_model = copy.deepcopy(start)
    reference = losses_of(reference_model, recipe, split, place, plain=True)
    true_gradient = gradient(copy.deepcopy(start), split, place.batch, False)
    paths = {"exact": recipe, "fast": recipe.replace(precision="fast")}
    if compiled:
        paths = {f"{name} compiled": own.replace(compile=True) for name, own in paths.items()}
    trained: nn.Module = reference_model
    for path, own in paths.items():
        limits = FAST if own.precision == "fast" else EXACT
        model = copy.deepcopy(start)
        fast_forward(model, own.precision)
        own_gradient = gradient(copy.deepcopy(model), split, place.batch, own.precision == "fast")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = losses_of(model, own, split, place)
        drift = abs(sum(found) - sum(reference)) / abs(sum(reference))
        say(f"{path}: {STEPS} losses", drift < limits.drift, f"mean off by {100 * drift:.4f} %")
        if compiled:
            fell_back = [str(w.message) for w in caught if "without --compile" in str(w.message)]
            say(f"{path}: is compiled", not fell_back, "; ".join(fell_back))
            continue
        cosine = float(F.cosine_similarity(own_gradient, true_gradient, dim=0))
        say(f"{path}: gradients", cosine > limits.cosine, f"cosine {cosine:.6f}")
        trained = model
    if not compiled:
        _check_trained(reference_model, trained, split, place, say)


def losses_of(model: nn.Module, recipe: Recipe, split: Split, place: Place, *, plain: bool = False) -> list[float]:
    """Take steps as the loop does; ``plain`` ones with torch's own optimizer, and no graph."""
    model.train()
    batches = Batches(split, recipe.batch_size, seed=0, augment=True, flip=True)
    session = make_session(model, recipe, batches)
    if plain:
        session.cuda = None
    found = []
    with tf32(recipe.precision == "fast"):
        for loss in session.steps(LOSSES[recipe.loss]):
            found.append(loss.clone())
            session.after_step()
    return torch.stack(found).tolist()  # type: ignore[no-any-return]


def gradient(model: nn.Module, split: Split, batch: int, fast: bool) -> Tensor:
    """The gradients of one step, flat."""
    model.train().zero_grad()
    with tf32(fast):
        F.cross_entropy(model(split.images[:batch].float() / 255), split.labels[:batch]).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@torch.no_grad()
def classes_off(model: nn.Module, sample: Tensor) -> tuple[int, int]:
    """Images whose class differs from float64's, in float32 and on the grid; all with the batch's statistics."""
    exact, fast, double = (copy.deepcopy(model) for _ in range(3))
    fast_forward(exact)
    fast_forward(fast, "fast")
    plain_forward(double)
    truth = double.double().train()(sample.double()).argmax(1)
    with tf32(False):
        single = exact.train()(sample).argmax(1)
    with tf32(True):
        grid = fast.train()(sample).argmax(1)
    return int((single != truth).sum()), int((grid != truth).sum())


def _check_trained(plain: nn.Module, trained: nn.Module, split: Split, place: Place, say: Say) -> None:
    """A network that was trained here: evaluated as Brevitas does, on the integer grid, and exported."""
    sample = split.images[: 10 * place.batch].float() / 255
    with torch.no_grad(), tf32(False):
        plain.load_state_dict(trained.state_dict())
        differ = int((plain.eval()(sample).argmax(1) != trained.eval()(sample).argmax(1)).sum())
    say("evaluation is Brevitas'", differ == 0, f"{differ} of {len(sample)} classes differ")
    single, grid = classes_off(trained, sample)
    detail = f"{grid} of {len(sample)} classes differ from float64's, {single} in float32"
    say("integer grid", grid <= single + len(sample) // 200, detail)
    plain_forward(trained)
    with tempfile.TemporaryDirectory() as scratch:
        shown = split.images[:64].cpu(), split.labels[:64].cpu()
        try:
            proof = export_finn(trained.cpu(), Path(scratch) / "finn", pixels=shown[0], labels=shown[1])
        except ProofError as error:
            say("export", False, str(error))
        else:
            say("export", proof.equal == proof.images, f"{proof.equal} of {proof.images} images equal")

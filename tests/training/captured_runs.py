"""Short training runs whose steps are captured by the stand-in for CUDA, and the same runs kernel by kernel."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qtrain.data import Batches, Split
from qtrain.models import FAMILIES, build_model, parse_name
from qtrain.models.fast_forward import fast_forward
from qtrain.models.shapes import Size, height_and_width
from qtrain.recipe import Recipe
from qtrain.training import evaluate
from qtrain.training.losses import LOSSES, training_loss
from qtrain.training.session import Session
from qtrain.training.setup import make_session
from qtrain.training.teacher import Distillation
from tests.replay import Replay

CLASSES = 10


@dataclass
class Run:
    """What a run left.

    Attributes:
        losses: of every step.
        rates: of every group at every step.
        state: tensors of the model and of the optimizer by name.
        session: of the run.
    """

    losses: list[float]
    rates: list[list[float]]
    state: dict[str, Tensor]
    session: Session


def network(name: str, size: Size | None = None, width: float = 0.125, **options: Any) -> nn.Module:
    """A network of the zoo as training has it."""
    torch.manual_seed(0)
    model = build_model(name, width=width, num_classes=CLASSES, in_channels=3, image_size=size, **options)
    fast_forward(model)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def images(count: int, size: Size = 32) -> Split:
    """Random bytes with labels."""
    drawn = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 3, *height_and_width(size)), dtype=torch.uint8, generator=drawn)
    return Split(pixels, torch.arange(count) % CLASSES)


def size_of(name: str) -> Size:
    """A small height and width of images for a family; a network for ImageNet divides them by 32."""
    family = FAMILIES.get(parse_name(name).family)
    if family.rectangular:
        return family.smallest_image
    return 64 if max(family.shape[1:]) > 32 else max(*height_and_width(family.smallest_image), 8)


def session_of(model: nn.Module, recipe: Recipe, split: Split, cuda: Any, *, captures: bool) -> Session:
    """A session that steps as on a GPU."""
    torch.manual_seed(2)
    batches = Batches(
        split,
        recipe.batch_size,
        seed=0,
        augment=recipe.augment,
        flip=recipe.augment,
        jitter=recipe.jitter,
        noise=recipe.noise if "noise" in (recipe.kinds or ()) else 0.0,
        mixup=recipe.mixup,
        classes=CLASSES,
    )
    session = make_session(model, recipe, batches)
    session.cuda, session.captures = cuda, captures
    return session


def advance(session: Session, recipe: Recipe, epochs: int, held_out: Split) -> tuple[list[float], list[list[float]]]:
    """Train as the loop does, with an evaluation after each epoch; losses and rates of every step."""
    losses, rates = [], []
    model, at = session.model, session.at
    for _ in range(at.epoch, epochs):
        model.train()
        for loss in session.steps(training_loss(recipe)):
            losses.append(float(loss))
            session.after_step()
            rates.append(session.method.rates())
        with session.judged():
            accuracy = evaluate(model, held_out, LOSSES[recipe.loss]).accuracy
        session.method.validated(1 - accuracy / 100)
        session.next_epoch()
    return losses, rates


def train(
    model: nn.Module,
    recipe: Recipe,
    *,
    captures: bool,
    cuda: Any = None,
    split: Split | None = None,
    size: Size = 32,
    distillation: Distillation | None = None,
) -> Run:
    """Train for the recipe's epochs on a few images, on ``cuda``, whose steps are captured or not."""
    split = images(4 * recipe.batch_size - 1, size) if split is None else split
    session = session_of(model, recipe, split, cuda or Replay(), captures=captures)
    session.distillation = distillation
    losses, rates = advance(session, recipe, recipe.epochs, images(16, size))
    return Run(losses, rates, state_of(session), session)


def state_of(session: Session) -> dict[str, Tensor]:
    """Every tensor that training moves, copied."""
    found = {name: tensor.clone() for name, tensor in session.model.state_dict().items()}
    for number, state in enumerate(session.optimizer.state.values()):
        found |= {f"{number}.{name}": t.clone() for name, t in state.items() if isinstance(t, Tensor)}
    if session.average is not None:
        found |= {f"mean {number}": mean.clone() for number, mean in enumerate(session.average.means)}
    return found


def differences(ours: Run, theirs: Run) -> list[str]:
    """Names of what differs in a bit; empty for equal runs."""
    found = [f"loss {i}" for i, (a, b) in enumerate(zip(ours.losses, theirs.losses, strict=True)) if a != b]
    found += ["rates"] if ours.rates != theirs.rates else []
    assert all(map(math.isfinite, theirs.losses))  # NaN is not equal to itself, and hides what differs
    assert ours.state.keys() == theirs.state.keys()
    return found + [name for name, value in ours.state.items() if not _same(value, theirs.state[name])]


def _same(ours: Tensor, theirs: Tensor) -> bool:
    """Bit for bit; a deep network of few images may end in NaN, which is then NaN in both."""
    if not ours.is_floating_point():
        return torch.equal(ours, theirs)
    return torch.equal(ours.isnan(), theirs.isnan()) and torch.equal(ours.nan_to_num(), theirs.nan_to_num())

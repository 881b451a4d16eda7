"""The kernels that update all parameters at once step as torch's optimizers do, and clip."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from qtrain.data import Batches
from qtrain.models import build_model
from qtrain.recipe import Recipe
from qtrain.training.captured import update
from qtrain.training.captured.step import StaticStep, Work
from qtrain.training.losses import LOSSES
from qtrain.training.setup import make_session
from qtrain.triton_kernels import why_not
from tests.kernels import launches, trusted_cpu
from tests.training.captured_runs import images, session_of

CPU = torch.device("cpu")


def test_the_kernels_agree_with_torchs_optimizers(interpreted: None) -> None:
    assert why_not(CPU, update.comparisons) is None


def test_more_parameters_than_a_launch_takes(interpreted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from qtrain.training.captured import update_kernels

    monkeypatch.setattr(update_kernels, "MOST_TENSORS", 2)
    assert why_not(CPU, update.comparisons) is None


def trained(recipe: Recipe) -> tuple[list[float], dict[str, Tensor], Any]:
    """Losses and tensors of a short run as on a GPU, and what was launched."""
    torch.manual_seed(0)
    model = build_model("TFC_2W2A", width=0.125, in_channels=3, image_size=8)
    session = session_of(model.to(memory_format=torch.channels_last), recipe, images(16, 8), None, captures=False)  # type: ignore[call-overload]
    session.cuda = object()  # fixed tensors, and no capture
    with launches() as found:
        model.train()
        losses = []
        for loss in session.steps(LOSSES[recipe.loss]):
            losses.append(float(loss))
            session.after_step()
    return losses, {name: value.clone() for name, value in model.state_dict().items()}, found.kernels


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "nag"},
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.1},
    ],
)
def test_a_run_updates_by_them_from_the_second_step_on(changes: dict[str, Any], interpreted: None) -> None:
    values = {"batch_size": 4, "lr": 0.01, "weight_decay": 1e-3, "scheduler": "aslr", "augment": False}
    recipe = Recipe("TFC_2W2A", "digits", **values | changes)
    theirs, their_state, _ = trained(recipe)
    with trusted_cpu():
        ours, state, kernels = trained(recipe)
    kernel = "adam_kernel" if recipe.optimizer.startswith("adam") else "sgd_kernel"
    first = 0 if recipe.momentum == 0 and recipe.optimizer == "sgd" else 1  # which makes the optimizer's state
    assert kernels[kernel] == 4 - first
    assert ours == pytest.approx(theirs, rel=1e-4)
    for name, value in their_state.items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: SGD(p, 0.1, momentum=0.9, dampening=0.5),
        lambda p: SGD(p, 0.1, momentum=0.9, maximize=True),
        lambda p: Adam(p, 0.1, amsgrad=True),
        lambda p: SGD([{"params": p[:1], "momentum": 0.5}, {"params": p[1:]}], 0.1, momentum=0.9),
    ],
)
def test_what_they_do_not_know_is_torchs(optimizer: Any, interpreted: None) -> None:
    layers = nn.Linear(4, 4), nn.Linear(4, 4)
    found = optimizer([parameter for layer in layers for parameter in layer.parameters()])
    step = StaticStep(nn.Sequential(*layers), found, images=2)

    def compute(x: Tensor, labels: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(layers[1](layers[0](x)), labels)
        loss.backward()
        return loss

    with trusted_cpu(), launches() as seen:
        for _ in range(3):
            step.step(Work((torch.rand(2, 4), torch.tensor([0, 1])), 2, compute))
    assert not seen.kernels


def test_weights_stay_in_their_range(interpreted: None) -> None:
    torch.manual_seed(0)
    model = build_model("TFC_2W2A", width=0.125, in_channels=3, image_size=8)
    recipe = Recipe("TFC_2W2A", "digits", batch_size=4, lr=10.0, optimizer="nag", scheduler="constant")
    session = make_session(model, recipe, Batches(images(16, 8), 4, seed=0, augment=False, flip=False))
    session.cuda, session.captures = object(), False
    with trusted_cpu():
        model.train()
        for _ in session.steps(LOSSES[recipe.loss]):
            session.after_step()
    limits: dict[str, float] = model.weight_limits  # type: ignore[assignment]
    assert limits
    for path, limit in limits.items():
        weight: Tensor = model.get_submodule(path).weight  # type: ignore[assignment]
        assert float(weight.detach().abs().max()) == pytest.approx(limit)

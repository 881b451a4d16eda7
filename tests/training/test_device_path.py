"""What the host does for a step that is a graph: the rates' copy and the launch, and nothing of the data."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from qtrain.recipe import Recipe
from qtrain.training.losses import LOSSES
from tests.replay import CUDAGraph, Replay
from tests.training.captured_runs import differences, images, network, session_of, train

QUIET = {"view", "detach", "slice", "select", "unbind", "empty", "t", "permute", "expand", "reshape", "_unsafe_view"}
MOST_LAUNCHES = 3


class Outside(TorchDispatchMode):
    """Counts calls that are in no graph."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.replaying = False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if not self.replaying and name not in QUIET:
            self.calls[name] += 1
        return function(*args, **(kwargs or {}))


def recipe_of(**changes: Any) -> Recipe:
    values = {
        "epochs": 3,
        "batch_size": 4,
        "optimizer": "nag",
        "lr": 0.01,
        "scheduler": "aslr",
        "loss": "cross_entropy",
    }
    return Recipe("CNV_4W4A", "digits", **values | changes)


@pytest.mark.parametrize("jitter", [0.0, 0.3])
@pytest.mark.parametrize("optimizer", ["nag", "adam"])
def test_a_replayed_step_launches_three_times_at_most(
    optimizer: str, jitter: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gather, conversion, crop, flip, jitter, update, clip and the sum of losses are all in the graph."""
    count = Outside()
    replay = CUDAGraph.replay

    def replayed(self: CUDAGraph) -> None:
        count.replaying = True
        replay(self)
        count.replaying = False
        count.calls["the graph"] += 1

    monkeypatch.setattr(CUDAGraph, "replay", replayed)
    recipe = recipe_of(optimizer=optimizer, jitter=jitter)
    session = session_of(network("CNV_4W4A"), recipe, images(16), Replay(), captures=True)
    looked_at = []
    for _ in range(recipe.epochs):
        session.model.train()
        steps = session.steps(LOSSES[recipe.loss])
        for number in range(len(session.batches)):
            was_captured = session.captured
            count.calls.clear()
            with count:
                next(steps)
                session.after_step()
            if was_captured and number:  # an epoch's first step brings the table
                looked_at.append(dict(count.calls))
        list(steps)
        session.next_epoch()
    assert session.captured
    assert len(looked_at) == 2 * 3
    for calls in looked_at:
        host = calls.pop("rand")  # ASLR's draws
        assert host == 1
        assert calls["the graph"] == 1
        assert sum(calls.values()) - calls.get("lift_fresh", 0) <= MOST_LAUNCHES, calls


@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_captured_steps_that_read_their_batches_train_to_the_same_bits(jitter: float) -> None:
    recipe = recipe_of(augment=True, jitter=jitter)
    cuda = Replay()
    captured = train(network("CNV_4W4A"), recipe, captures=True, cuda=cuda)
    ordinary = train(network("CNV_4W4A"), recipe, captures=False)
    assert captured.session.captured
    assert cuda.replays == 6
    assert differences(captured, ordinary) == []
    assert torch.equal(captured.session.loss_sum, ordinary.session.loss_sum)


def test_steps_from_tables_are_the_steps_on_the_batches() -> None:
    """The path of the CPU, with one batch after the other, from the same start."""
    recipe = recipe_of(augment=True)
    runs = []
    for cuda in (None, Replay()):
        session = session_of(network("CNV_4W4A"), recipe, images(15), cuda, captures=False)
        losses: list[Tensor] = []
        for _ in range(2):
            session.model.train()
            for loss in session.steps(LOSSES[recipe.loss]):
                losses.append(loss.clone())
                session.after_step()
            session.next_epoch()
        runs.append((torch.stack(losses), session.loss_sum))
    torch.testing.assert_close(runs[1], runs[0], rtol=1e-4, atol=1e-5)

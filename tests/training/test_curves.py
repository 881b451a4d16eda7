"""A first rate that was too high is told by the curves of its run, and no good one is blamed."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from qtrain.data import DataSet
from qtrain.experiments.model import model_of
from qtrain.recipe import Recipe
from qtrain.records.runs import Epoch
from qtrain.training import RunContext, train
from qtrain.training.curves import POINTS, too_high
from qtrain.training.evaluation import Evaluation

CAMPAIGN = Path(__file__).parents[2] / "results" / "campaign"
FALLING = (30.0, 40.0, 20.0, 15.0, 20.0, 20.0, 20.0, 22.0)


def epochs(accuracies: Sequence[float], losses: Sequence[float] | None = None) -> list[Epoch]:
    """Epochs with these validation accuracies; the training loss stays where none is given."""
    found = []
    for number, accuracy in enumerate(accuracies, 1):
        loss = losses[number - 1] if losses else 1.0
        found.append(
            Epoch(
                epoch=number,
                lr=0.1,
                loss=loss,
                validation_loss=loss,
                validation_accuracy=accuracy,
                seconds=1.0,
                draws={},
            )
        )
    return found


def test_a_run_that_was_best_early_and_got_much_worse_is_told_of(tiny: Callable[..., Recipe]) -> None:
    assert too_high(epochs(FALLING), tiny(scheduler="aslr", lr=0.3)) == (
        "validation was best after epoch 2 of 8 and is 19 points lower in the last quarter, where the training loss "
        "has not fallen either: a first rate of 0.3 is probably too high; take a lower one, or what "
        "--lr auto finds if it is not from there"
    )


@pytest.mark.parametrize(
    ("accuracies", "losses", "scheduler"),
    [
        ((20.0, 30.0, 35.0, 38.0, 40.0, 41.0, 41.5, 41.6), None, "aslr"),  # learns to the end
        ((30.0, 40.0, 20.0, 15.0, 20.0, 30.0, 38.0, 39.0), None, "aslr"),  # came back
        ((30.0, 40.0, 39.0, 38.0, 37.0, 38.0, 37.0, 36.0), None, "aslr"),  # by noise's size
        ((30.0, 35.0, 36.0, 37.0, 40.0, 20.0, 20.0, 20.0), None, "aslr"),  # best in its second half
        (FALLING, (1.0, 0.9, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1), "aslr"),  # learns its images by heart
        (FALLING, None, "prodigy"),  # has no first rate
        ((40.0, 20.0), None, "aslr"),  # too short to tell
        ((), None, "aslr"),
    ],
)
def test_no_other_run_is(
    tiny: Callable[..., Recipe], accuracies: Sequence[float], losses: Sequence[float] | None, scheduler: str
) -> None:
    assert too_high(epochs(accuracies, losses), tiny(scheduler=scheduler, lr=0.3)) is None


def campaign_runs() -> dict[tuple[str, str], list[tuple[list[Epoch], dict[str, Any], float]]]:
    """Epochs, recipe and test accuracy of every run of the campaign's first part, by network and scheduler."""
    found: dict[tuple[str, str], list[tuple[list[Epoch], dict[str, Any], float]]] = {}
    for path in sorted(CAMPAIGN.glob("sensitivity-*.jsonl")):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        recipe = records[0]["recipe"]
        curve = [record for record in records if record["type"] == "epoch"]
        of = epochs([r["validation_accuracy"] for r in curve], [r["loss"] for r in curve])
        result = (of, recipe, records[-1]["test_accuracy"])
        found.setdefault((recipe["network"], recipe["scheduler"]), []).append(result)
    return found


def test_in_the_campaign_only_rates_that_cost_points_are_blamed(tiny: Callable[..., Recipe]) -> None:
    blamed, far_too_high = 0, 0
    for runs in campaign_runs().values():
        best = max(accuracy for _, _, accuracy in runs)
        for of, recipe, accuracy in runs:
            told = too_high(of, tiny(scheduler=recipe["scheduler"], lr=recipe["lr"]))
            far_too_high += recipe["lr"] == 0.3
            if told:
                blamed += 1
                assert recipe["lr"] >= 0.1
                assert accuracy < best - POINTS
    assert far_too_high == 30
    assert blamed > 20


def test_the_loop_says_so(
    tmp_path: Path, tiny: Callable[..., Recipe], few_digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter(FALLING)
    monkeypatch.setattr(
        "qtrain.training.session.Session.validate", lambda *_: Evaluation(loss=1.0, accuracy=next(accuracies))
    )
    recipe = tiny(scheduler="constant", lr=1e-9, epochs=len(FALLING))  # its training loss stays, whatever the CPU
    said: list[str] = []
    train(model_of(recipe), recipe, tmp_path / "run", RunContext(say=said.append), data=few_digits, built=True)
    assert [line for line in said if "a first rate of 1e-09 is probably too high" in line]

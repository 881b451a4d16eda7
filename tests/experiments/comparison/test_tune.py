"""The grid search: judged on validation images, finished runs are kept, and what it cost is told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.errors import UserError
from qtrain.experiments.comparison.tune import Point, Tuning, tune
from qtrain.recipe import Recipe
from qtrain.records.runs import RECORDS

LRS = (0.02, 1e-5)


def test_the_best_point_is_that_of_the_highest_validation_accuracy() -> None:
    points = (Point(0.1, (0.5,), (50.0, 70.0), 1.0), Point(0.01, (0.5,), (99.0, None), 1.0))
    assert points[0].score == 60
    assert points[1].score < 0  # one seed that diverged is no rate to take
    assert Tuning(points, (100, 101)).best is points[0]
    assert Tuning(points, (100, 101)).runs == 4
    with pytest.raises(UserError, match="without diverging"):
        _ = Tuning(points[1:], (100, 101)).best


def test_the_grid_trains_the_baseline_and_a_second_call_repeats_nothing(
    tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    found = tune(tiny(baseline="cosine"), tmp_path, lrs=LRS, seeds=(100,))
    records = {path: path.read_bytes() for path in tmp_path.rglob(RECORDS)}
    assert len(records) == found.runs == 2
    for path in records:
        facts = [json.loads(line) for line in path.read_text().splitlines()]
        assert facts[0]["recipe"]["scheduler"] == "cosine"
        assert facts[0]["recipe"]["seed"] == 100
        best = max(r["validation_accuracy"] for r in facts if r["type"] == "epoch")
        assert next(p for p in found.points if p.lr == facts[0]["recipe"]["lr"]).validation_accuracies == (best,)
    assert found.points[0].score >= found.points[1].score
    assert found.seconds > 0
    assert tune(tiny(baseline="cosine"), tmp_path, lrs=LRS, seeds=(100,)) == found
    assert {path: path.read_bytes() for path in tmp_path.rglob(RECORDS)} == records
    written = json.loads((tmp_path / "tuning.json").read_text())
    assert written["runs"] == 2
    assert written["points"][0]["lr"] == found.best.lr


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"protocol": "paper", "validation_size": None}, {}, "validates on the test set"),
        ({}, {"lrs": ()}, "lrs of the grid"),
        ({}, {"lrs": (0.1, 0.1)}, "each once"),
        ({}, {"seeds": ()}, "seeds of the grid"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_is_written(
    tiny: Callable[..., Recipe], tmp_path: Path, changes: dict, options: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        tune(tiny(**changes), tmp_path / "out", **{"lrs": LRS, **options})
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_recipe_is_refused(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    tune(tiny(epochs=1), tmp_path, lrs=LRS[:1])
    with pytest.raises(UserError, match="another recipe"):
        tune(tiny(epochs=2), tmp_path, lrs=LRS[:1])

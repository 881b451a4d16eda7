"""The grid search: judged on validation images, finished runs are kept, and what it cost is told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qtrain.errors import UserError
from qtrain.experiments.comparison.tune import tune
from qtrain.recipe import Recipe
from qtrain.records.no_retuning import TuningFile, TuningPoint, TuningRecord
from qtrain.records.runs import RECORDS

LRS = (0.02, 1e-5)


def test_the_best_point_is_that_of_the_highest_validation_accuracy() -> None:
    points = (TuningPoint(0.1, (0.5,), (50.0, 70.0), 1.0), TuningPoint(0.01, (0.5,), (99.0, None), 1.0))
    assert points[0].score == 60
    assert points[1].score < 0  # one seed that diverged is no rate to take
    assert TuningRecord((100, 101), 4, 2.0, points).best is points[0]
    with pytest.raises(UserError, match="without diverging"):
        _ = TuningRecord((100, 101), 2, 1.0, points[1:]).best


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
        assert next(p for p in found.points if p.lr == facts[0]["recipe"]["lr"]).validation_accuracy == (best,)
    assert found.points[0].score >= found.points[1].score
    assert found.seconds > 0
    assert tune(tiny(baseline="cosine"), tmp_path, lrs=LRS, seeds=(100,)) == found
    assert {path: path.read_bytes() for path in tmp_path.rglob(RECORDS)} == records
    written = TuningFile.read(tmp_path)
    assert (written.scheduler, written.runs) == ("cosine", 2)
    assert written.points == found.points


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

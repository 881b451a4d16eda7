"""Run folders as training leaves them, for what reads them."""

import json
import os
import time
from pathlib import Path
from typing import Any

from qtrain.recipe import Recipe, dump_recipe

EPOCH = {"lr": 0.1, "loss": 1.0, "validation_loss": 0.5, "images_per_second": 100.0, "draws": {}}


def recipe(**changes: Any) -> Recipe:
    return Recipe(**{"network": "CNV_1W1A", "data": "digits", "epochs": 4, "scheduler": "aslr", **changes})


def write_run(folder: Path, done: int = 4, *, age: float = 1000.0, **changes: Any) -> Path:
    """Write a run with so many of its epochs, a second each, that was last written ``age`` seconds ago."""
    made = recipe(**changes)
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(dump_recipe(made))
    (folder / "records.jsonl").write_text(json.dumps({"type": "run", "recipe": made.to_dict()}) + "\n")
    for epoch in range(1, done + 1):
        add_epoch(folder, epoch)
    if done == made.epochs:
        result = {"test_accuracy": 75.5, "validation_accuracy": 60.0 + done, "best_epoch": done, "epochs": done}
        add(folder, {"type": "result", **result, "seconds": float(done)})
    written = time.time() - age
    os.utime(folder / "records.jsonl", (written, written))
    return folder


def add_epoch(folder: Path, epoch: int, **changes: Any) -> None:
    facts = {"epoch": epoch, "validation_accuracy": 60.0 + epoch, "seconds": float(epoch)}
    add(folder, {"type": "epoch", **EPOCH, **facts, **changes})


def add(folder: Path, record: dict[str, Any]) -> None:
    with (folder / "records.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")

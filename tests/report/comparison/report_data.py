"""A small comparison of schedulers, written as ``qtrain compare`` leaves one, and a reader of the page made of it."""

import hashlib
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from plotly.offline import get_plotlyjs

from qtrain.recipe import Recipe, dump_recipe

RECIPE = Recipe("CNV_1W1A", "digits", epochs=3, batch_size=50, optimizer="adam", lr=0.02, width=0.125).to_dict()
ACCURACIES = {"aslr": (81.5, 83.25, 82.0), "multistep": (82.0, 82.0, 81.75), "cosine": (80.0, 84.5, 81.0)}
RATES = {"aslr": (0.02, 0.02, 0.03), "multistep": (0.02, 0.002, 0.0002), "cosine": (0.02, 0.015, 0.005)}
DASH = "\u2013"  # what the page shows for nothing
PROOF = {
    "images": 397,
    "equal": 397,
    "accuracy_torch": 81.5,
    "accuracy_graph": 81.5,
    "largest_logit_difference": 2.5e-8,
    "ties": 4,
    "float32_torch_differs": 1,
    "qonnx_images": 8,
    "qonnx_equal": 7,
}
STAGES = [
    {"stage": "exported", "nodes": 47, "images": 16, "tensors": 31, "largest_difference": 1.5e-9},
    {"stage": "annotated", "nodes": 46, "images": 16, "tensors": 30, "largest_difference": 3.5e-9},
]


class Page(HTMLParser):
    """Text, tags, links and table rows of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]
        self.cell = tag in ("td", "th") or (self.cell and tag in ("span", "svg", "path", "a", "button"))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cell:
            self.rows[-1][-1] += data


def without_plotly(html: str) -> str:
    """Return a page without the one script that is not the house's."""
    assert html.count(get_plotlyjs()) == 1
    return html.replace(get_plotlyjs(), "")


def write_graph(path: Path) -> str:
    """Write two layers, 4 and 1 bits: 2x3 and 3x5 weights, 3 + 1 + 1 + 1 + 1 other values; return the SHA-256."""
    values = {"w1": np.ones((2, 3)), "scale": 0.5, "zero": 0.0, "bits": 4.0, "w2": np.ones((3, 5)), "one": 1.0}
    values["bias"] = np.ones(3)
    nodes = [
        helper.make_node("Quant", ["w1", "scale", "zero", "bits"], ["q1"], "q1", domain="qonnx.custom_op.general"),
        helper.make_node("MatMul", ["x", "q1"], ["y"], "fc1"),
        helper.make_node("Add", ["y", "bias"], ["z"], "bias"),
        helper.make_node("Quant", ["z", "scale", "zero", "bits"], ["a"], "act", domain="qonnx.custom_op.general"),
        helper.make_node("BipolarQuant", ["w2", "one"], ["q2"], "q2", domain="qonnx.custom_op.general"),
        helper.make_node("MatMul", ["a", "q2"], ["out"], "fc2"),
    ]
    tensors = [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in values.items()]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in (("x", [1, 2]), ("out", [1, 5]))]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_run(
    folder: Path, scheduler: str, seed: int, accuracy: float, recipe: dict[str, Any] = RECIPE, best: float = 80.0
) -> None:
    folder.mkdir(parents=True)
    facts = {"device": "cpu: x86_64", "threads": 2, "python": "3.11.7", "versions": {"torch": "2.13.0"}, "commit": None}
    run: dict[str, Any] = {"type": "run", "date": "2026-11-23T14:50:45+00:00", **facts}
    lines = [{**run, "recipe": {**recipe, "scheduler": scheduler, "seed": seed}}]
    for i, lr in enumerate(RATES.get(scheduler, RATES["aslr"])):
        lines.append(
            {
                "type": "epoch",
                "epoch": i + 1,
                "lr": lr,
                "loss": 1.0 / (i + 1 + seed),
                "validation_loss": 0.5,
                "validation_accuracy": 60.0 + 10 * i + seed,
                "images_per_second": 100.0,
                "seconds": 2.0 * (i + 1),
                "draws": {"conv1": lr * 1.1, "fc1": lr * 0.9},
            }
        )
    result = {"test_accuracy": accuracy, "validation_accuracy": best, "best_epoch": 2 + seed % 2, "epochs": 3}
    lines.append({"type": "result", **result, "seconds": 6.0, "test_loss": 0.4, **facts})
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_cell(recipe: Recipe, folder: Path, accuracy: float | None, best: float = 80.0) -> None:
    """Write what a run of three epochs leaves, or with no accuracy one that diverged: all that a command reads."""
    if accuracy is None:
        folder.mkdir(parents=True)
        (folder / "failed.json").write_text('{"reason": "the loss is nan at step 2"}')
    else:
        write_run(folder, recipe.scheduler, recipe.seed, accuracy, recipe.to_dict(), best)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))


def write_comparison(
    folder: Path, schedulers: tuple[str, ...] = ("aslr", "multistep"), seeds: int = 3, tolerance: float = 0.5
) -> Path:
    """Write what ``qtrain compare`` leaves, ASLR's first run exported."""
    cells = []
    for seed in range(seeds):
        for s in schedulers:
            write_run(folder / f"{s}-seed{seed}", s, seed, ACCURACIES[s][seed])
            cells.append(
                {"scheduler": s, "seed": seed, "folder": f"{s}-seed{seed}", "test_accuracy": ACCURACIES[s][seed]}
            )
    top = {"format": 1, "recipe": RECIPE, "schedulers": list(schedulers), "tolerance": tolerance, "cells": cells}
    (folder / "comparison.json").write_text(json.dumps(top))
    finn = folder / "aslr-seed0" / "finn"
    finn.mkdir()
    manifest = {
        **{"format": 1, "network": "CNV_1W1A", "board": "ZCU104", "target_fps": 1000, "clock_ns": 10.0},
        **{"proof": PROOF, "stages": STAGES, "files": {"model.onnx": write_graph(finn / "model.onnx")}},
    }
    (finn / "manifest.json").write_text(json.dumps(manifest))
    return folder


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def fail(folder: Path, scheduler: str, *seeds: int) -> None:
    """Make runs of a written comparison diverge."""

    def change(values: Any) -> None:
        lost = [c for c in values["cells"] if c["scheduler"] == scheduler and c["seed"] in seeds]
        values["cells"] = [c for c in values["cells"] if c not in lost]
        values["failed"] = [{**c, "reason": "the loss is nan at step 2"} for c in lost]
        values["against"] = ["multistep"]

    edit(folder / "comparison.json", change)

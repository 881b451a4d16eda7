import copy
import dataclasses
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from matplotlib.colors import to_hex
from onnx import TensorProto, helper, numpy_helper

from qtrain.errors import UserError
from qtrain.recipe import Recipe
from qtrain.report import comparison, figures, tables
from qtrain.report.graph import read_graph
from qtrain.report.html import rebuild_command, render, write_report
from qtrain.report.read import ComparisonData, read_comparison

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
        self.cell = tag in ("td", "th") or (self.cell and tag == "span")
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


def write_run(folder: Path, scheduler: str, seed: int, accuracy: float) -> None:
    folder.mkdir(parents=True)
    facts = {"device": "cpu: x86_64", "threads": 2, "python": "3.11.7", "versions": {"torch": "2.13.0"}, "commit": None}
    run: dict[str, Any] = {"type": "run", "date": "2026-11-23T14:50:45+00:00", **facts}
    lines = [{**run, "recipe": {**RECIPE, "scheduler": scheduler, "seed": seed}}]
    for i, lr in enumerate(RATES[scheduler]):
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
    result = {"test_accuracy": accuracy, "validation_accuracy": 80.0, "best_epoch": 2 + seed % 2, "epochs": 3}
    lines.append({"type": "result", **result, "seconds": 6.0, "test_loss": 0.4, **facts})
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_comparison(tmp_path / "cmp")


@pytest.fixture
def data(folder: Path) -> ComparisonData:
    return read_comparison(folder)


def test_reading_returns_the_recorded_numbers(data: ComparisonData) -> None:
    assert data.schedulers == ("aslr", "multistep")
    assert data.accuracies("aslr") == [81.5, 83.25, 82.0]
    assert data.differences("multistep") == [-0.5, 1.25, 0.25]
    run = data.of("multistep")[1]
    assert [e.lr for e in run.epochs] == [0.02, 0.002, 0.0002]
    assert [e.validation_accuracy for e in run.epochs] == [61.0, 71.0, 81.0]
    assert run.epochs[0].draws == pytest.approx({"conv1": 0.022, "fc1": 0.018})
    assert (run.best_epoch, run.seconds, run.export) == (3, 6.0, None)
    assert data.runs[0].export is not None
    assert data.runs[0].export.manifest["proof"] == PROOF


def test_a_graph_tells_its_weights_bits_and_size(tmp_path: Path) -> None:
    digest = write_graph(tmp_path / "model.onnx")
    graph = read_graph(tmp_path / "model.onnx", digest)
    assert [(la.name, la.shape, la.count, la.bits) for la in graph.layers] == [
        ("fc1", (2, 3), 6, 4),
        ("fc2", (3, 5), 15, 1),
    ]
    assert (graph.other_values, graph.nodes, graph.file_bytes) == (7, 6, (tmp_path / "model.onnx").stat().st_size)


def test_an_epoch_recorded_again_after_a_resume_counts_once(folder: Path) -> None:
    path = folder / "aslr-seed0" / "records.jsonl"
    lines = path.read_text().splitlines()
    again = {**json.loads(lines[1]), "loss": 0.125}
    path.write_text("\n".join([*lines[:2], json.dumps(again), *lines[2:]]) + "\n")
    assert read_comparison(folder).runs[0].epochs[0].loss == 0.125


def _drop(key: str) -> Callable[[Any], Any]:
    return lambda values: values.pop(key)


def _last_line(text: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text("\n".join([*path.read_text().splitlines()[:-1], text]))


def _cell(key: str, value: Any) -> Callable[[Path], Any]:
    return lambda path: edit(path, lambda v: v["cells"][0].update({key: value}))


DAMAGE: list[tuple[str, Callable[[Path], Any], str]] = [
    ("comparison.json", Path.unlink, "does not exist"),
    ("comparison.json", lambda p: p.write_text("{"), "is damaged"),
    ("comparison.json", lambda p: p.write_text("[]"), "a JSON object is expected"),
    ("comparison.json", lambda p: p.write_bytes(b"\xff\xfe"), "is damaged"),
    ("comparison.json", lambda p: edit(p, lambda v: v.update(format=2)), "has format 2, this qtrain reads 1"),
    ("comparison.json", lambda p: edit(p, _drop("cells")), "'cells' must be a list"),
    ("comparison.json", lambda p: edit(p, lambda v: v["cells"].pop()), "must have the same seeds"),
    ("comparison.json", lambda p: edit(p, lambda v: v.update(schedulers=["multistep"])), "must have the same seeds"),
    ("comparison.json", lambda p: edit(p, lambda v: v.update(tolerance="much")), "'tolerance' must be a number"),
    ("comparison.json", _cell("folder", "../elsewhere"), "must be a name beside it"),
    ("comparison.json", _cell("test_accuracy", 99.0), "says 99.0 % for aslr-seed0"),
    ("comparison.json", _cell("seed", True), "'seed' must be a whole number"),
    ("aslr-seed0/records.jsonl", Path.unlink, "does not exist"),
    ("aslr-seed0/records.jsonl", lambda p: p.write_text(""), "is not a finished run"),
    ("aslr-seed0/records.jsonl", _last_line(""), "is not a finished run"),
    ("aslr-seed0/records.jsonl", _last_line('{"type": "epoch"'), "is damaged"),
    ("aslr-seed0/records.jsonl", _last_line('{"type": "other"}'), "is not a finished run"),
    (
        "aslr-seed0/records.jsonl",
        lambda p: p.write_text(p.read_text().replace('"epoch": 2', '"epoch": 7')),
        "epochs 1 to",
    ),
    ("aslr-seed0/records.jsonl", lambda p: p.write_text(p.read_text().replace('"lr": 0.03', '"lr": NaN')), "finite"),
    ("aslr-seed0/finn/manifest.json", Path.unlink, "does not exist"),
    ("aslr-seed0/finn/manifest.json", lambda p: edit(p, lambda v: v["proof"].pop("equal")), "'equal' must be a number"),
    ("aslr-seed0/finn/manifest.json", lambda p: edit(p, lambda v: v.update(format=0)), "has format 0"),
    ("aslr-seed0/finn/model.onnx", Path.unlink, "does not exist"),
    ("aslr-seed0/finn/model.onnx", lambda p: p.write_bytes(b"no graph"), "is no ONNX file"),
    (
        "aslr-seed0/finn/model.onnx",
        lambda p: p.write_bytes(p.read_bytes() + b"\x08\x08"),
        "not the file that was proven",
    ),
]


@pytest.mark.parametrize(("file", "damage", "message"), DAMAGE)
def test_damage_is_one_line_and_leaves_no_report(
    folder: Path, file: str, damage: Callable[[Path], Any], message: str
) -> None:
    damage(folder / file)
    with pytest.raises(UserError, match=message) as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)
    assert file.split("/")[0] in str(caught.value)
    assert not list(folder.glob("*report*"))


def test_a_missing_folder_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"comparison\.json does not exist"):
        read_comparison(tmp_path / "none")


def test_the_tables_hold_means_paired_differences_intervals_and_costs(data: ComparisonData) -> None:
    reached, cost = comparison.comparison_tables(data)
    # by hand: differences -0.5, 1.25, 0.25; standard deviation 0.878; t(2, 0.975) 4.3027; half width 2.1809
    assert reached.rows == (
        ("aslr", "82.25 ± 0.90", "", "", "3", "2 to 3"),
        ("multistep", "81.92 ± 0.14", "+0.33", "-1.85..+2.51", "3", "2 to 3"),
    )
    assert [head.replace("\n", " ") for head in reached.head] == [
        *("scheduler", "test accuracy, %", "ASLR minus it, points", "95 % interval", "epochs to multistep's"),
        "best epoch",
    ]
    assert cost.head == ("scheduler", "seconds\nan epoch", "times\nmultistep's", "rates\nto tune")
    assert cost.rows == (("aslr", "2.0", "1.00", "1"), ("multistep", "2.0", "1.00", "5"))


def test_epochs_to_reach_are_counted_by_seed_and_may_be_never(folder: Path) -> None:
    path = folder / "aslr-seed0" / "records.jsonl"  # its baseline ends with 80
    path.write_text(
        path.read_text().replace('"validation_accuracy": 80.0, "images', '"validation_accuracy": 79.9, "images')
    )
    path = folder / "aslr-seed1" / "records.jsonl"
    path.write_text(path.read_text().replace('"validation_accuracy": 71.0', '"validation_accuracy": 81.0'))
    data = read_comparison(folder)
    assert comparison.reaching(data, "aslr") == [None, 2, 3]
    assert comparison.accuracy_table(data).rows[0][4] == "2 to 3 (1 never)"


def test_counts_tuning_runs_and_time_have_columns_where_they_are_known(folder: Path) -> None:
    for seed, extra in enumerate((2500, 3500, 3300)):
        path = folder / f"multistep-seed{seed}" / "records.jsonl"
        counts = json.dumps({"forward_passes_extra": extra, "skipped_steps": 0})
        text = path.read_text().replace('"epoch": 3,', f'"epoch": 3, "counts": {counts},')
        path.write_text(text.replace('"seconds": 6.0, "test_loss"', '"seconds": 3.0, "test_loss"'))
    edit(folder / "comparison.json", lambda v: v.update(tuning={"multistep": 9}))
    cost = comparison.cost_table(read_comparison(folder))
    assert [head.replace("\n", " ") for head in cost.head[4:]] == [
        "tuning runs",
        "extra forward passes",
        "skipped steps",
    ]
    assert cost.rows == (("aslr", "2.0", "2.00", "1", "", "", ""), ("multistep", "1.0", "1.00", "5", "9", "3,100", "0"))


def fail(folder: Path, scheduler: str, *seeds: int) -> None:
    """Make runs of a written comparison diverge."""

    def change(values: Any) -> None:
        lost = [c for c in values["cells"] if c["scheduler"] == scheduler and c["seed"] in seeds]
        values["cells"] = [c for c in values["cells"] if c not in lost]
        values["failed"] = [{**c, "reason": "the loss is nan at step 2"} for c in lost]
        values["against"] = ["multistep"]

    edit(folder / "comparison.json", change)


def test_a_rival_that_diverged_is_shown_as_such_and_fails_nothing(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "cmp", ("aslr", "multistep", "cosine"), tolerance=5)
    fail(folder, "cosine", 0, 1, 2)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert ["cosine", "diverged", DASH, DASH, DASH, DASH] in page.rows
    assert "cosine seed 1 diverged: the loss is nan at step 2." in page.text
    assert "ASLR holds" in page.text
    fail(write_comparison(tmp_path / "part", ("aslr", "multistep", "cosine"), tolerance=5), "cosine", 1)
    row = comparison.accuracy_table(read_comparison(tmp_path / "part")).rows[2]
    assert row[:3] == ("cosine", "80.50 ± 0.71 (2 of 3)", "+1.25")  # 81.5 - 80 and 82 - 81


@pytest.mark.parametrize("scheduler", ["aslr", "multistep"])
def test_a_challenger_or_baseline_that_diverged_cannot_hold(folder: Path, scheduler: str) -> None:
    fail(folder, scheduler, 1)
    data = read_comparison(folder)
    assert data.shortfalls == {"multistep": None}
    holds, sentence = comparison.verdict(data)
    assert not holds
    assert "cannot be judged: aslr or multistep has a run without an accuracy" in sentence
    assert "cannot be judged" in Page(write_report(folder).read_text(encoding="utf-8")).text


def test_a_report_can_be_made_of_runs_that_all_diverged(folder: Path) -> None:
    fail(folder, "aslr", 0, 1, 2)
    edit(
        folder / "comparison.json", lambda v: v.update(failed=v["failed"] + [{**c, "reason": "x"} for c in v["cells"]])
    )
    edit(folder / "comparison.json", lambda v: v.update(cells=[]))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert ["aslr", "diverged", DASH, DASH, DASH, DASH] in page.rows


@pytest.mark.parametrize(
    ("deficit", "tolerance", "holds"), [(0.0, 0.0, True), (1.0, 0.5, False), (1.0, 1.0, True), (-1.0, 0.0, True)]
)
def test_the_verdict_follows_the_tolerance(data: ComparisonData, deficit: float, tolerance: float, holds: bool) -> None:
    theirs = [r for r in data.runs if r.scheduler == "multistep"]
    ours = [dataclasses.replace(r, scheduler="aslr", test_accuracy=r.test_accuracy - deficit) for r in theirs]
    changed = dataclasses.replace(
        data, runs=(*ours, *theirs), tolerance=tolerance
    )  # no spread: the interval is a point
    assert bool(changed.shortfalls) != holds
    found, sentence = comparison.verdict(changed)
    assert found == holds
    assert sentence.startswith("ASLR holds: " if holds else "ASLR falls short: ")
    assert f"{abs(deficit):.2f} points {'below' if deficit > 0 else 'above'} multistep's" in sentence


def test_a_mean_that_is_ahead_falls_short_where_its_interval_reaches_too_far_down(data: ComparisonData) -> None:
    assert data.difference("multistep").mean > 0
    assert [bool(dataclasses.replace(data, tolerance=t).shortfalls) for t in (1.84, 1.86)] == [True, False]


@pytest.mark.parametrize("schedulers", [("aslr", "multistep"), ("aslr", "multistep", "cosine")])
def test_the_table_fits_80_columns_in_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, schedulers: tuple[str, ...]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    tables.print_comparison(write_comparison(tmp_path / "cmp", schedulers))
    lines = capsys.readouterr().out.splitlines()
    table = lines[: 7 + 2 * len(schedulers)]
    assert max(map(len, table)) <= 80
    assert " ".join(table[3].split()) == "aslr 82.25 ± 0.90 - - 3 2 to 3"
    assert " ".join(table[4].split()) == "multistep 81.92 ± 0.14 +0.33 -1.85..+2.51 3 2 to 3"
    assert "multistep 2.0 1.00 5" in [" ".join(line.split()) for line in table]
    assert comparison.verdict(read_comparison(tmp_path / "cmp"))[1] in lines
    assert "\x1b" not in "".join(lines)


def test_the_table_prints_where_the_terminal_has_ascii_only(folder: Path) -> None:
    code = "import sys, pathlib, qtrain.report.tables as t; t.print_comparison(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-W", "error", "-c", code, str(folder)]
    out = subprocess.run(command, env={"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True, cwd=Path.cwd())
    assert b"82.25 +/- 0.90" in out.stdout
    assert out.stdout.isascii()


@pytest.mark.parametrize(("differs", "shown"), [(1, "1"), (None, "not measured")])
def test_the_proof_prints_its_numbers(capsys: pytest.CaptureFixture[str], differs: int | None, shown: str) -> None:
    tables.print_proof({**PROOF, "float32_torch_differs": differs})
    out = capsys.readouterr().out
    found = [line.split("  ")[-1].strip() for line in out.splitlines()]
    assert found == ["397 of 397", "81.50 %", "81.50 %", "2.5e-08", "4", shown, "7 of 8"]
    assert max(map(len, out.splitlines())) <= 80


def test_the_figures_draw_the_recorded_numbers_in_one_colour_a_scheduler(tmp_path: Path) -> None:
    data = read_comparison(write_comparison(tmp_path / "cmp", ("aslr", "multistep", "cosine")))
    colours = {s: figures.scheduler_colour(s).lower() for s in data.schedulers}
    assert len(set(colours.values())) == 3
    for draw in (figures.validation_accuracy, figures.training_loss):
        lines = {line.get_label(): line for line in draw(data).axes[0].lines}
        assert {s: to_hex(lines[s].get_color()) for s in data.schedulers} == colours
    assert list(lines["aslr"].get_ydata()) == pytest.approx(
        [(1 + 1 / 2 + 1 / 3) / 3, 13 / 36, (1 / 3 + 1 / 4 + 1 / 5) / 3]
    )
    steps = {p.get_label().split(",")[0]: p for p in figures.learning_rate(data).axes[0].patches}
    assert {s: tuple(p.get_data().values) for s, p in steps.items()} == RATES
    dots = {t for line in figures.accuracy(data).axes[0].lines if line.get_marker() == "o" for t in line.get_ydata()}
    assert dots == {value for values in ACCURACIES.values() for value in values}


def test_every_scheduler_has_a_colour_of_its_own_and_dashes() -> None:
    from typing import get_args

    from qtrain.recipe import Scheduler

    names = get_args(Scheduler)
    assert len({figures.COLOURS[name] for name in names}) == len(names)
    assert set(names) <= set(figures.DASHES)


def test_the_draws_are_of_every_layer_and_epoch(data: ComparisonData) -> None:
    dots = [line for line in figures.learning_rate(data).axes[0].lines if line.get_marker() == "o"]
    assert len(dots) == 1
    expected = [rate * factor for rate in RATES["aslr"] for factor in (1.1, 0.9)]
    assert list(dots[0].get_ydata()) == pytest.approx(expected)
    assert list(dots[0].get_xdata()) == [1, 1, 2, 2, 3, 3]


def test_the_overview_has_three_panels(data: ComparisonData) -> None:
    titles = [axes.get_title(loc="left") for axes in figures.overview(data).axes]
    assert titles == ["Test accuracy, %", "Learning rate", "Validation accuracy, %"]


def test_the_page_stands_alone_and_holds_the_recorded_numbers(folder: Path) -> None:
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert len(page.links) == 4
    assert all(link.startswith("data:image/png;base64,iVBOR") for link in page.links)
    assert not {"script", "link", "iframe", "object", "a"} & set(page.tags)
    assert ["multistep", "81.92 ± 0.14", "+0.33", "-1.85..+2.51", "3", "2 to 3"] in page.rows
    assert ["multistep", "2.0", "1.00", "5"] in page.rows
    assert ["test images with equal classes", "397 of 397"] in page.rows
    assert ["exported", "47", "16", "31", "1.5e-09"] in page.rows
    assert ["fc1", "2 x 3", "6", "4", "24"] in page.rows
    assert ["sum", "", "21", "", "39"] in page.rows
    assert ["nodes of the final graph", "6"] in page.rows
    assert ["model.onnx", f"{(folder / 'aslr-seed0/finn/model.onnx').stat().st_size:,} bytes"] in page.rows
    assert ["commit", "not recorded"] in page.rows
    assert comparison.verdict(read_comparison(folder))[1] in page.text


def test_the_report_is_the_same_each_time_and_leaves_nothing_partial(folder: Path) -> None:
    before = {p.relative_to(folder) for p in folder.rglob("*")}
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    names = ["accuracy", "learning_rate", "overview", "training_loss", "validation_accuracy"]
    assert {str(p.relative_to(folder)) for p in folder.rglob("*")} - {str(p) for p in before} == {
        *("report.html", "report"),
        *(f"report/{name}.png" for name in names),
    }
    assert all((folder / f"report/{name}.png").read_bytes().startswith(b"\x89PNG") for name in names)


def test_markup_in_recorded_values_is_shown_as_text(folder: Path) -> None:
    evil = "<script>alert('x')</script>"
    edit(folder / "comparison.json", lambda v: v["recipe"].update(network=evil, data='"><img src=x>'))
    manifest = folder / "aslr-seed0" / "finn" / "manifest.json"
    edit(manifest, lambda v: (v["stages"][0].update(stage=evil), v.update(board=evil)))
    records = folder / "aslr-seed0" / "records.jsonl"
    records.write_text(records.read_text().replace("cpu: x86_64", evil))
    page = Page(render(read_comparison(folder), {}))
    assert not {"script", "img"} & set(page.tags)
    assert page.text.count(evil) >= 5


def test_the_paper_protocol_is_said_on_the_page(data: ComparisonData) -> None:
    said = "the test set was also the validation set"
    assert said not in render(data, {})
    assert said in render(dataclasses.replace(data, recipe={**RECIPE, "protocol": "paper"}), {})


def test_one_seed_without_export_makes_a_report_too(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "cmp", seeds=1)
    shutil.rmtree(folder / "aslr-seed0" / "finn")
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "No run was exported" in page.text
    assert ["multistep", "82.00", "-0.50", DASH, "3", "2"] in page.rows
    assert "one seed, so the difference itself counts" in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "augment": False,
            "train_size": 100,
            "milestones": [0.25],
            "lr": 1e-05,
            "scheduler_options": {"eta_max": 10.0},
        },
    ],
)
def test_the_command_on_the_page_gives_the_recorded_recipe(data: ComparisonData, changes: dict[str, Any]) -> None:
    from qtrain import arguments

    wanted = {**copy.deepcopy(RECIPE), **changes}
    command = rebuild_command(dataclasses.replace(data, recipe=wanted))
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["qtrain", "compare"]
    options, recipe = arguments.given_recipe(arguments.make_parser(), arguments.normalised(words[1:]))
    assert recipe.to_dict() == wanted
    assert (options.schedulers, options.seeds, options.tolerance) == ("aslr,multistep", 3, 0.5)
    assert (options.board, options.target_fps, options.clock_ns) == ("ZCU104", 1000, 10.0)
    assert (options.device, options.out) == ("cpu", "cmp")
    assert (options.challenger, options.against) == ("aslr", "multistep")


def test_the_report_loads_nothing_that_trains() -> None:
    code = "import sys, qtrain.report.html; print([m for m in sys.modules if m in ('torch', 'brevitas', 'qonnx')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_report_of_a_real_comparison_holds_its_records(tmp_path: Path) -> None:
    from qtrain.experiments.compare import compare
    from qtrain.experiments.run import export_run

    recipe = Recipe(
        "CNV_1W1A", "digits", epochs=1, batch_size=50, optimizer="adam", lr=0.02, width=0.125, train_size=100
    )
    comparison = compare(recipe, tmp_path / "real", seeds=1, tolerance=100, device="cpu")
    finn = comparison.cells[0].folder / "finn"
    export_run(comparison.cells[0].folder, finn, board="ZCU104", target_fps=1000, clock_ns=10.0)
    page = Page(write_report(tmp_path / "real").read_text(encoding="utf-8"))
    data = read_comparison(tmp_path / "real")
    assert data.differences("multistep") == comparison.differences("multistep")
    assert data.shortfalls == comparison.shortfalls
    for cell in comparison.cells:
        result = json.loads((cell.folder / "records.jsonl").read_text().splitlines()[-1])
        assert cell.test_accuracy == result["test_accuracy"]
        row = next(row for row in page.rows if row and row[0] == cell.scheduler)
        assert row[1] == f"{result['test_accuracy']:.2f}"
    manifest = json.loads((finn / "manifest.json").read_text())
    assert [f"{manifest['proof']['equal']} of {manifest['proof']['images']}"] in [row[1:] for row in page.rows]
    for name, value in tables.proof_rows(manifest["proof"]):
        assert [name, value] in page.rows
    for stage in manifest["stages"]:
        numbers = [str(stage[key]) for key in ("nodes", "images", "tensors")]
        assert [stage["stage"], *numbers, f"{stage['largest_difference']:.1e}"] in page.rows
    # CNV at an eighth of its width, by hand: 3x3 kernels between 3, 8, 8, 16, 16, 32, 32 channels, then 32-64-64-10
    weights = 9 * (3 * 8 + 8 * 8 + 8 * 16 + 16 * 16 + 16 * 32 + 32 * 32) + 32 * 64 + 64 * 64 + 64 * 10
    assert ["sum", "", f"{weights:,}", "", f"{weights:,}"] in page.rows


def test_an_estimate_is_shown_against_the_boards_resources(capsys: pytest.CaptureFixture[str]) -> None:
    from qtrain.report.tables import print_estimate

    build = {"verified": ("initial_python",), "fps": 1205.6, "latency_ns": 4_876_500.0}
    build |= {"lut": 6064, "bram_18k": 10, "uram": 0, "dsp": None}
    print_estimate(build, {"name": "Pynq-Z1", "lut": 53_200, "bram_18k": 280, "uram": 0, "dsp": 220})
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].endswith("as torch did: initial_python")
    assert lines[1].startswith("FINN's estimates on Pynq-Z1")
    expected = ["frames a second 1,206", "latency 4.88 ms", "LUT 6,064 of 53,200 (11%)", "BRAM_18K 10 of 280 (4%)"]
    assert lines[2:] == [*expected, "URAM 0 of 0"]

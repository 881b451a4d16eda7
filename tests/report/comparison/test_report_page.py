"""The figures and the HTML page: they show the recorded numbers, and stand alone."""

import copy
import dataclasses
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex

from qtrain.cli import make_parser
from qtrain.commands.recipes import given_recipe
from qtrain.commands.words import normalised
from qtrain.recipe import Recipe
from qtrain.records.format import Source, from_json
from qtrain.records.manifest import Proof
from qtrain.report.comparison import figures, text
from qtrain.report.comparison.page import machine_facts, rebuild_command, render, write_report
from qtrain.report.comparison.read import ComparisonData, read_comparison
from qtrain.report.proof import proof_rows
from qtrain.schedulers.catalogue import SCHEDULERS, row_of
from qtrain.training.context import RunContext
from tests.report.comparison.report_data import (
    ACCURACIES,
    DASH,
    RATES,
    RECIPE,
    Page,
    edit,
    fail,
    without_plotly,
    write_comparison,
)


def test_the_figures_draw_the_recorded_numbers_in_one_colour_a_scheduler(tmp_path: Path) -> None:
    data = read_comparison(write_comparison(tmp_path / "cmp", ("aslr", "multistep", "cosine")))
    colours = {s: row_of(s).colour.lower() for s in data.schedulers}
    assert len(set(colours.values())) == 3
    for draw in (figures.validation_accuracy, figures.training_loss):
        lines = {line.get_label(): line for line in draw(data).axes[0].lines}
        assert {s: to_hex(lines[s].get_color()) for s in data.schedulers} == colours
    assert list(lines["aslr"].get_ydata()) == pytest.approx(
        [(1 + 1 / 2 + 1 / 3) / 3, 13 / 36, (1 / 3 + 1 / 4 + 1 / 5) / 3]
    )
    steps = {p.get_label().split(",")[0]: p for p in figures.learning_rate(data).axes[0].patches}
    assert {s: tuple(p.get_data().values) for s, p in steps.items()} == RATES
    dots: dict[str, list[float]] = {}
    for line in figures.accuracy(data).axes[0].lines:
        dots.setdefault(str(line.get_marker()), []).extend(line.get_ydata())
    assert {s: tuple(dots[row_of(s).marker]) for s in data.schedulers} == ACCURACIES


def test_a_seed_that_was_ended_early_leaves_the_others_their_curves(tmp_path: Path) -> None:
    """Mean and band go as far as every seed trained; each seed has its own line to its own end."""
    folder = write_comparison(tmp_path / "cmp")
    path = folder / "aslr-seed1" / "records.jsonl"
    run, first, second, _, result = (json.loads(line) for line in path.read_text().splitlines())
    result |= {"epochs": 2, "stopped_by": "EarlyStop", "why_stopped": "no better validation accuracy since epoch 1"}
    path.write_text("".join(json.dumps(record) + "\n" for record in (run, first, second, result)))
    data = read_comparison(folder)
    lines = figures.training_loss(data).axes[0].lines
    mean = next(line for line in lines if line.get_label() == "aslr")
    assert list(mean.get_xdata()) == [1, 2]
    assert list(mean.get_ydata()) == pytest.approx([(1 + 1 / 2 + 1 / 3) / 3, 13 / 36])
    assert sorted(len(line.get_xdata()) for line in lines if line.get_label() != "aslr") == [2, 3, 3, 3, 3, 3, 3]
    assert write_report(folder).is_file()


def test_every_scheduler_has_a_colour_dashes_and_a_marker_of_its_own() -> None:
    rows = SCHEDULERS.built_in.values()
    assert len({row.colour for row in rows}) == len(rows)
    assert len({(row.dashes, row.marker) for row in rows}) == len(rows)
    for family in ("aslr", "line search"):
        for look in ("dashes", "marker"):
            looks = [getattr(row, look) for row in rows if row.family == family]
            assert len(set(looks)) == len(looks)


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
    page = Page(without_plotly(write_report(folder).read_text(encoding="utf-8")))
    assert len(page.links) == 4
    assert all(link.startswith("data:image/png;base64,iVBOR") for link in page.links)
    assert not {"link", "iframe", "object", "a"} & set(page.tags)
    assert ["multistep", "81.92 ± 0.14", "+0.33", "-1.85..+2.51", "3", "2 to 3"] in page.rows
    assert ["multistep", "2.0", "1.00", "5"] in page.rows
    assert ["test images with equal classes", "397 of 397"] in page.rows
    assert ["exported", "47", "16", "31", "1.5e-09"] in page.rows
    assert ["fc1", "2 x 3", "6", "4", "24"] in page.rows
    assert ["sum", "", "21", "", "39"] in page.rows
    assert ["nodes of the final graph", "6"] in page.rows
    assert ["model.onnx", f"{(folder / 'aslr-seed0/finn/model.onnx').stat().st_size:,} bytes"] in page.rows
    assert ["commit", "not recorded"] in page.rows
    assert text.verdict(read_comparison(folder))[1] in page.text


def test_what_a_run_worked_with_is_said_without_braces_and_once_for_all_splits(data: ComparisonData) -> None:
    facts = {"name": "digits", "class_names": ["0", "1"], "shape": [3, 32, 32], "layout": "NCHW"}
    facts |= {"value_range": [0.0, 255.0], "digest": ""}
    forward = {"precision": "exact", "brevitas": []}
    machines = [{"data": {**facts, "mean": [mean]}, "forward": forward, "commit": None} for mean in (0.3, 0.4)]
    runs = [dataclasses.replace(run, machine=machine) for run, machine in zip(data.runs, machines, strict=False)]
    assert machine_facts(runs) == {
        "data": "digits, 2 classes, 3x32x32 NCHW, values 0 to 255",
        "forward": "precision exact",
        "commit": "not recorded",
    }


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
    harmless = Page(render(read_comparison(folder), {})).tags
    edit(folder / "comparison.json", lambda v: v["recipe"].update(network=evil, data='"><img src=x>'))
    manifest = folder / "aslr-seed0" / "finn" / "manifest.json"
    edit(manifest, lambda v: (v["stages"][0].update(stage=evil), v.update(board=evil)))
    records = folder / "aslr-seed0" / "records.jsonl"
    records.write_text(records.read_text().replace("cpu: x86_64", evil))
    page = Page(render(read_comparison(folder), {}))
    assert page.tags == harmless
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
    assert "Undecided: one seed gives no interval." in page.text


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
    wanted = {**copy.deepcopy(RECIPE), **changes}
    command = rebuild_command([dataclasses.replace(data, recipe=wanted)], data.name)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["qtrain", "compare"]
    options, recipe = given_recipe(make_parser("compare"), normalised(words[1:])[1:])
    assert recipe.to_dict() == wanted
    assert (options.schedulers, options.seeds, options.tolerance) == ("aslr,multistep", 3, 0.5)
    assert (options.board, options.target_fps, options.clock_ns) == ("ZCU104", 1000, 10.0)
    assert (options.device, options.out) == ("cpu", "cmp")
    assert (options.challenger, options.against) == ("aslr", "multistep")


def test_the_report_loads_nothing_that_trains() -> None:
    code = "import sys, qtrain.report.comparison.page; "
    code += "print([m for m in sys.modules if m in ('torch', 'brevitas', 'qonnx')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_report_of_a_real_comparison_holds_its_records(tmp_path: Path) -> None:
    from qtrain.experiments.comparison.compare import compare
    from qtrain.experiments.export import export_run

    recipe = Recipe(
        "CNV_1W1A", "digits", epochs=1, batch_size=50, optimizer="adam", lr=0.02, width=0.125, train_size=100
    )
    comparison = compare(recipe, tmp_path / "real", seeds=1, tolerance=100, context=RunContext(device="cpu"))
    finn = comparison.cells[0].folder / "finn"
    export_run(comparison.cells[0].folder, finn, board="ZCU104", target_fps=1000, clock_ns=10.0)
    page = Page(write_report(tmp_path / "real").read_text(encoding="utf-8"))
    data = read_comparison(tmp_path / "real")
    assert data.differences("multistep") == comparison.differences("multistep")
    assert data.verdicts == comparison.verdicts
    for cell in comparison.cells:
        result = json.loads((cell.folder / "records.jsonl").read_text().splitlines()[-1])
        assert cell.test_accuracy == result["test_accuracy"]
        row = next(row for row in page.rows if row and row[0] == cell.scheduler)
        assert row[1] == f"{result['test_accuracy']:.2f}"
    manifest = json.loads((finn / "manifest.json").read_text())
    assert [f"{manifest['proof']['equal']} of {manifest['proof']['images']}"] in [row[1:] for row in page.rows]
    for name, value in proof_rows(from_json(Proof, manifest["proof"], Source(Path("manifest.json"), ""))):
        assert [name, value] in page.rows
    for stage in manifest["stages"]:
        numbers = [str(stage[key]) for key in ("nodes", "images", "tensors")]
        assert [stage["stage"], *numbers, f"{stage['largest_difference']:.1e}"] in page.rows
    # CNV at an eighth of its width, by hand: 3x3 kernels between 3, 8, 8, 16, 16, 32, 32 channels, then 32-64-64-10
    weights = 9 * (3 * 8 + 8 * 8 + 8 * 16 + 16 * 16 + 16 * 32 + 32 * 32) + 32 * 64 + 64 * 64 + 64 * 10
    assert ["sum", "", f"{weights:,}", "", f"{weights:,}"] in page.rows


def test_a_report_can_be_made_of_runs_that_all_diverged(folder: Path) -> None:
    fail(folder, "aslr", 0, 1, 2)
    edit(
        folder / "comparison.json", lambda v: v.update(failed=v["failed"] + [{**c, "reason": "x"} for c in v["cells"]])
    )
    edit(folder / "comparison.json", lambda v: v.update(cells=[]))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert ["aslr", "diverged", DASH, DASH, DASH, DASH] in page.rows

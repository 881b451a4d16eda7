"""Reading a comparison folder: the recorded numbers, and damage told in one line."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from qtrain.errors import UserError
from qtrain.report.comparison.page import write_report
from qtrain.report.comparison.read import ComparisonData, read_comparison
from qtrain.report.graph import graph_facts
from tests.report.comparison.report_data import PROOF, edit, write_graph


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
    assert asdict(data.runs[0].export.manifest.proof) == {**PROOF, "caveats": ()}


def test_a_graph_tells_its_weights_bits_and_size(tmp_path: Path) -> None:
    digest = write_graph(tmp_path / "model.onnx")
    graph = graph_facts(tmp_path / "model.onnx", digest)
    assert [(la.name, la.shape, la.count, la.bits) for la in graph.layers] == [
        ("fc1", (2, 3), 6, 4),
        ("fc2", (3, 5), 15, 1),
    ]
    assert (graph.other_values, graph.nodes, graph.file_bytes) == (7, 6, (tmp_path / "model.onnx").stat().st_size)


def test_an_epoch_recorded_again_after_a_resume_counts_once(folder: Path) -> None:
    path = folder / "aslr-seed0" / "records.jsonl"
    lines = path.read_text().splitlines()
    again = {**json.loads(lines[1]), "seconds": 0.125}
    path.write_text("\n".join([*lines[:2], json.dumps(again), *lines[2:]]) + "\n")
    assert read_comparison(folder).runs[0].epochs[0].seconds == 0.125
    path.write_text("\n".join([*lines[:2], json.dumps({**again, "loss": 0.125}), *lines[2:]]) + "\n")
    with pytest.raises(UserError, match=r"records.jsonl is damaged \(epoch 1 is there twice, with different values\)"):
        read_comparison(folder)


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
    ("comparison.json", _cell("seed", True), r"'cells\[0\]\.seed' must be a whole number"),
    ("aslr-seed0/records.jsonl", Path.unlink, "is not a run folder"),
    ("aslr-seed0/records.jsonl", lambda p: p.write_text(""), "is not a finished run"),
    ("aslr-seed0/records.jsonl", _last_line(""), "is not a finished run"),
    ("aslr-seed0/records.jsonl", _last_line('{"type": "epoch"'), "is not a finished run"),  # as a kill leaves it
    ("aslr-seed0/records.jsonl", _last_line('{"type": "epoch"\n'), "is damaged .line 5: .*; train again"),
    ("aslr-seed0/records.jsonl", _last_line('{"type": "other"}'), "is not a finished run"),
    (
        "aslr-seed0/records.jsonl",
        lambda p: p.write_text(p.read_text().replace('"epoch": 2', '"epoch": 7')),
        "epochs 1 to",
    ),
    ("aslr-seed0/records.jsonl", lambda p: p.write_text(p.read_text().replace('"lr": 0.03', '"lr": NaN')), "finite"),
    ("aslr-seed0/finn/manifest.json", Path.unlink, "does not exist"),
    (
        "aslr-seed0/finn/manifest.json",
        lambda p: edit(p, lambda v: v["proof"].pop("equal")),
        r"'proof\.equal' must be a whole number",
    ),
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

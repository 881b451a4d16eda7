"""No bit of a record can flip unheard of, and no value of it can be edited; files of before have no checksum."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtrain.errors import UserError
from qtrain.experiments.paper.cells import append_result, read_results
from qtrain.records.checksum import KEY, with_checksum, without_checksum
from qtrain.records.comparison import GridFile
from qtrain.records.files import write_json_lines
from qtrain.records.runs import RECORDS, read_records
from qtrain.records.sweep import read_cell
from qtrain.report.comparison.read import read_comparison
from qtrain.report.sweep.rows import read_sweep
from tests.damage import add_checksums, bit_of_each_byte, check_flips, flipped, some_bits
from tests.experiments.sweep.sweep_data import write_sweep

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
RECORD = {"type": "epoch", "epoch": 12, "lr": 1e-05, "loss": 0.30000000000000004, "draws": {"fc1": 0.1}, "name": "é"}


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=5), anything, max_size=5))
def test_what_is_written_is_read_without_its_checksum(entries: dict[str, Any]) -> None:
    text = json.dumps(with_checksum(entries))
    expected = {name: value for name, value in entries.items() if name != KEY}
    assert repr(without_checksum(json.loads(text))) == repr(expected)  # as text, for nan is not nan
    assert repr(without_checksum(json.loads(json.dumps(json.loads(text), indent=4)))) == repr(expected)


def test_what_json_makes_of_values_is_what_the_checksum_is_of() -> None:
    entries = {"tuple": (1, 2), "by_number": {10: "a", 2: "b"}, "none": {None: 1, True: 2}}
    assert without_checksum(json.loads(json.dumps(with_checksum(entries))))["by_number"] == {"10": "a", "2": "b"}


def test_entries_of_before_are_read_as_they_are() -> None:
    assert without_checksum({"a": 1, "b": "text"}) == {"a": 1, "b": "text"}
    assert without_checksum({}) == {}


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_a_records_file_is_refused_or_changes_no_value(tmp_path: Path, step: int) -> None:
    path = tmp_path / RECORDS
    write_json_lines(path, [{"type": "run", "recipe": {"lr": 0.1}}, RECORD, {"type": "result", "test_accuracy": 90.5}])
    bits = list(range(0, 8 * len(path.read_bytes()), step))
    harmless = len(bits) - check_flips(path, bits, lambda: read_records(tmp_path))
    assert harmless < len(bits) / 100  # as 1e-05 and 1E-05


def test_an_edited_line_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / RECORDS
    write_json_lines(path, [{"type": "run"}, RECORD])
    path.write_text(path.read_text().replace('"epoch": 12', '"epoch": 13'))
    with pytest.raises(UserError) as raised:
        read_records(tmp_path)
    why = "its entries do not match its checksum: it was edited, or a bit of it has flipped"
    assert str(raised.value) == f"{path} is damaged (line 2: {why}); train again or take an older copy"


def test_half_a_last_line_is_none_and_a_whole_one_with_a_damaged_end_is_damage(tmp_path: Path) -> None:
    path = tmp_path / RECORDS
    write_json_lines(path, [{"type": "run"}, RECORD])
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole)):
        path.write_bytes(whole[:end])
        assert len(read_records(tmp_path)) == 1
    for number in range(8):
        path.write_bytes(flipped(whole, 8 * (len(whole) - 1) + number))
        with pytest.raises(UserError, match=r"records.jsonl is damaged"):
            read_records(tmp_path)


def test_results_of_reproduce_have_checksums(tmp_path: Path) -> None:
    path = tmp_path / "reproduce.jsonl"
    path.write_text('{"table": "table1", "accuracy": 1}\n')  # of before
    append_result(path, {"table": "table1", "accuracy": 2})
    assert [result["accuracy"] for result in read_results(path)] == [1, 2]
    path.write_text(path.read_text().replace('"accuracy": 2', '"accuracy": 3'))
    with pytest.raises(UserError, match=r"line 2: .* checksum.*remove that line"):
        read_results(path)


@pytest.mark.parametrize("count", [12, pytest.param(120, marks=pytest.mark.slow)])
def test_a_bit_flipped_in_any_file_of_a_comparison_is_heard_of(folder: Path, count: int) -> None:
    files = add_checksums(folder)
    assert len(files) > 6
    for seed, path in enumerate(files):
        bits = some_bits(path.read_bytes(), count, seed)
        assert check_flips(path, bits, lambda: read_comparison(folder)) > 0.9 * len(bits)


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_a_bit_flipped_in_any_file_of_a_sweep_is_heard_of(tmp_path: Path, count: int) -> None:
    folder = write_sweep(tmp_path / "sweep", widths=(1, 2))
    row = json.loads((folder / "sweep.jsonl").read_text().splitlines()[0])
    (folder / row["cell"]).mkdir()
    (folder / row["cell"] / "cell.json").write_text(json.dumps(row))
    for path in add_checksums(folder):
        bits = some_bits(path.read_bytes(), count)

        def read(path: Path = path) -> Any:
            if path.name == "cell.json":
                return read_cell(path.parent)
            return read_sweep(folder)

        assert check_flips(path, bits, read) > 0.9 * len(bits)


def test_a_flipped_bit_in_a_json_file_is_heard_of_wherever_it_is(tmp_path: Path) -> None:
    GridFile(networks=("a",), planned=("a", "b")).write(tmp_path)
    path = tmp_path / GridFile.FILE
    bits = list(bit_of_each_byte(path.read_bytes()))
    assert check_flips(path, bits, lambda: GridFile.read(tmp_path)) == len(bits)

"""Formats as types: what is written is read again, and what is damaged is named with its place and its mend."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtrain.errors import UserError
from qtrain.records.comparison import ComparisonFile, FailedCell, FailureFile, FinishedCell, GridFile, LrRangeFile
from qtrain.records.estimate import Estimate, LayerEstimate
from qtrain.records.files import write_json, write_json_lines, write_whole
from qtrain.records.format import AnyFloat, JsonFile, Source, from_json, to_json
from qtrain.records.no_retuning import NoRetuningFile, TuningFile
from qtrain.records.status import StatusFile
from qtrain.records.sweep import SweepFile

KINDS = (
    ComparisonFile,
    GridFile,
    FailureFile,
    LrRangeFile,
    NoRetuningFile,
    TuningFile,
    StatusFile,
    SweepFile,
    Estimate,
)


@dataclass(frozen=True)
class Inner:
    """One entry."""

    name: str
    loss: AnyFloat = 0.0


@dataclass(frozen=True, kw_only=True)
class Sample(JsonFile):
    """A format with every annotation."""

    FILE: ClassVar[str] = "sample.json"
    FORMAT: ClassVar[int] = 3
    MADE_BY: ClassVar[str] = "qtrain sample"
    MEND: ClassVar[str] = "run qtrain sample again"

    count: int
    rate: float
    name: str
    state: Literal["on", "off"] = "on"
    flag: bool = False
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    by_seed: Mapping[str, float] = None  # type: ignore[assignment]
    anything: Any = None


number = st.floats(allow_nan=False, allow_infinity=False)
inner = st.builds(Inner, name=st.text(), loss=number)
samples = st.builds(
    Sample,
    count=st.integers(),
    rate=number,
    name=st.text(),
    state=st.sampled_from(["on", "off"]),
    flag=st.booleans(),
    inner=st.none() | inner,
    many=st.lists(inner).map(tuple),
    by_seed=st.dictionaries(st.text(), number),
    anything=st.none() | st.lists(st.integers()),
)


@given(samples)
def test_what_is_written_is_read_again(sample: Sample) -> None:
    values = json.loads(json.dumps(sample.to_json()))
    assert values["format"] == 3
    assert from_json(Sample, values, Source(Path("sample.json"), "")) == sample


GOOD = {"format": 3, "count": 1, "rate": 2, "name": "a", "by_seed": {"0": 1.0}, "many": [{"name": "x"}]}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"count": True}, "'count' must be a whole number, but is True"),
    ({"count": 1.0}, "'count' must be a whole number, but is 1.0"),
    ({"rate": "fast"}, "'rate' must be a number, but is 'fast'"),
    ({"rate": float("nan")}, "'rate' must be a finite number, but is nan"),
    ({"name": None}, "'name' must be text, but is None"),
    ({"state": "half"}, "'state' must be one of on, off, but is 'half'"),
    ({"inner": [1]}, "'inner' must be an object or null, but is [1]"),
    ({"many": {}}, "'many' must be a list, but is {}"),
    ({"many": [{"name": "x"}, {"nam": "y"}]}, "'many[1].name' must be text, but is missing"),
    ({"by_seed": {"0": "x"}}, "'by_seed.0' must be a number, but is 'x'"),
]


@pytest.mark.parametrize(("change", "says"), BAD)
def test_a_wrong_entry_is_named_with_what_it_must_be(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    (tmp_path / "sample.json").write_text(json.dumps(GOOD | change))
    with pytest.raises(UserError) as raised:
        Sample.read(tmp_path)
    assert str(raised.value) == f"{tmp_path / 'sample.json'} is damaged ({says}); run qtrain sample again"


def test_losses_may_be_infinite_and_unknown_keys_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "sample.json").write_text(json.dumps(GOOD | {"inner": {"name": "y", "loss": float("inf")}, "new": 1}))
    assert Sample.read(tmp_path).inner == Inner("y", float("inf"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"{}", b"9" * 5000, b"[" * 100000], ids=str)
def test_each_damaged_file_is_one_line_with_its_own_command(
    tmp_path: Path, kind: type[JsonFile], content: bytes
) -> None:
    (tmp_path / kind.FILE).write_bytes(content)
    with pytest.raises(UserError) as raised:
        kind.read(tmp_path)
    says = str(raised.value)
    assert says.startswith(str(tmp_path / kind.FILE))
    assert says.endswith(kind.MEND)
    assert "\n" not in says


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_missing_file_names_the_command_that_makes_it(tmp_path: Path, kind: type[JsonFile]) -> None:
    with pytest.raises(UserError, match=f"{kind.FILE} does not exist; name a folder that {kind.MADE_BY} has finished"):
        kind.read(tmp_path)


def test_every_format_is_read_as_it_is_written(tmp_path: Path) -> None:
    cells = (FinishedCell("aslr", 0, "aslr-seed0", 90.5), FinishedCell("cosine", 0, "cosine-seed0", 90.0))
    lost = tuple(
        FailedCell(scheduler=name, seed=1, folder=f"{name}-seed1", reason="nan") for name in ("aslr", "cosine")
    )
    comparison = ComparisonFile(
        recipe={"data": "digits"},
        schedulers=("aslr", "cosine"),
        tolerance=0.5,
        against=("cosine",),
        cells=cells,
        failed=lost,
    )
    layer = LayerEstimate("MVAU_0", "MVAU_hls", "conv1", 100, 10, 2, 0, 1)
    values = {field.name: {} for field in fields(Estimate)}
    estimate = Estimate(
        **values
        | {"label": "l", "board": "b", "part": "p", "clock_ns": 10.0, "target_fps": 10, "mvau_wwidth_max": None}
        | {"fps": 20.0, "cycles": 100, "latency_ns": 5.0, "slowest": "MVAU_0", "max_utilization": 1.0, "fits": True}
        | {"used": {"LUT": 10}, "available": {"LUT": 100}, "layers": (layer,), "probes": (), "all_faster_tried": False}
    )
    for record in (comparison, GridFile(networks=("a",), planned=("a", "b")), FailureFile("nan"), estimate):
        record.write(tmp_path)
        assert type(record).read(tmp_path) == record
    assert to_json(comparison)["cells"][0]["test_accuracy"] == 90.5


@pytest.mark.parametrize(
    "write",
    [lambda p: write_whole(p, b"new"), lambda p: write_json(p, {"a": 1}), lambda p: write_json_lines(p, [{"a": 1}])],
    ids=["bytes", "json", "lines"],
)
def test_a_file_is_synced_before_it_takes_the_name_and_an_error_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any
) -> None:
    path, seen = tmp_path / "file", []
    path.write_text("old")
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: seen.append("sync") or sync(number))
    monkeypatch.setattr(os, "replace", lambda a, b: seen.append("replace") or replace(a, b))
    write(path)
    assert seen == ["sync", "replace"]

    def full(number: int) -> None:
        raise OSError("no space left")

    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]

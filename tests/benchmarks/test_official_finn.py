"""The recorded runs of official FINN: what the page says of them, and what the script says of what is missing."""

import copy
from pathlib import Path

import pytest

from benchmarks import official_finn
from docs_tools import official_pages

RECORDS = official_pages.read(official_pages.RESULTS)
PLAIN = [record for record in RECORDS if not record["folded"]]


def test_the_page_is_that_of_the_records() -> None:
    page = official_pages.PAGE.read_text()
    assert official_pages.estimates(PLAIN) in page
    assert official_pages.units(PLAIN) in page
    for record in PLAIN:
        for commit in record["commits"].values():
            assert commit[:9] in page


def test_at_least_twelve_networks_are_one_partition_with_torchs_classes_in_all_three() -> None:
    clean: dict[str, set[str]] = {}
    for record in PLAIN:
        classes = record.get("classes", {"images": 64, "equal": 0})
        assert classes["images"] == 64
        if record["status"] == 0 and record["one_partition"] and classes["equal"] == 64:
            clean.setdefault(record["network"], set()).add(record["compiler"])
    assert len([network for network, compilers in clean.items() if len(compilers) == 3]) >= 12


def test_a_saved_folding_is_as_fast_in_each_compiler() -> None:
    folded = [record for record in RECORDS if record["folded"]]
    assert {record["compiler"] for record in folded} == set(official_pages.COMPILERS)
    for network in {record["network"] for record in folded}:
        assert len({round(record["fps"]) for record in folded if record["network"] == network}) == 1


def test_a_name_that_means_another_layer_somewhere_is_listed() -> None:
    network = next(record["network"] for record in PLAIN if record.get("units"))
    records = copy.deepcopy([record for record in PLAIN if record["network"] == network])
    assert "there are no others" in official_pages.units(records)
    name = next(iter(records[0]["units"]))
    records[0]["units"][name] = "1x1x1x1"
    assert f"others: {network} {name}" in official_pages.units(records)


def test_what_is_missing_of_an_environment_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^official_finn: --main .* has no finn/src; it must hold the checkouts finn"):
        official_finn.official("main", tmp_path)
    for part in ("finn/src", "qonnx/src", "venv/bin"):
        (tmp_path / part).mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"has no venv/bin/python"):
        official_finn.official("main", tmp_path)
    (tmp_path / "venv" / "bin" / "python").touch()
    with pytest.raises(SystemExit, match=r"finn is no git checkout, so its commit cannot be recorded"):
        official_finn.official("main", tmp_path)


@pytest.mark.parametrize("name", ["CNV", "NOPE_2", "CNV_x"])
def test_an_unknown_network_is_one_line(name: str) -> None:
    with pytest.raises(SystemExit, match=f"{name} is no network; one is FAMILY_BITS"):
        official_finn.cell_of(name)

"""A fit beside a sweep: networks are chosen on validation images, compared on test images, and none is left out."""

from typing import Any

import pytest

from docs_tools import fit_tables


def pair(cell: str, lut: int, validation: float, test: float, fit: tuple[str, int, float] | None) -> dict[str, Any]:
    name, fit_lut, fit_test = fit or (None, None, None)
    return {
        "cell": cell,
        "lut": lut,
        "sweep_validation": validation,
        "sweep_test": test,
        "fit": name,
        "fit_lut": fit_lut,
        "fit_test": fit_test,
        "fit_validation": fit_test,
    }


PAIRS = [
    pair("1W1A", 100, 80.0, 79.0, None),
    pair("2W2A", 200, 90.0, 91.0, ("round1-2", 150, 90.0)),
    pair("4W4A", 400, 95.0, 93.0, ("round1-1", 350, 94.5)),
    pair("8W8A", 800, 95.0, 99.0, ("base", 700, 95.0)),  # no more on validation than a smaller one
]


def record(seed: int, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "benchmark": "fit",
        "case": {"name": "cnv", "fields": {"epochs": 8}},
        "seed": seed,
        "sweep_networks": 16,
        "fit_networks": 4,
        "errors": [{"lut": 0.5}, {"lut": 0.003}],
        "pairs": pairs,
    }


def test_the_best_cell_is_the_smallest_of_the_best_on_validation() -> None:
    found = fit_tables.against(PAIRS)
    assert found.best["cell"] == "4W4A"
    assert found.gaps == (-1.0, 1.5)  # 8W8A is not on the front
    assert found.missed == ("1W1A",)


def test_every_seed_has_a_row_and_what_falls_short_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record(0, PAIRS), record(1, PAIRS[:1]), record(1, PAIRS[:2])]
    monkeypatch.setattr(fit_tables, "lines", lambda _: records)
    said = fit_tables.fits().splitlines()
    rows = [line for line in said if line.startswith("| cnv")]
    assert len(rows) == 2  # of seed 1 the last
    assert (
        "128 / 32 | 4W4A | 400 | 93.00 | 350 | 94.50 | +1.50 | +0.25 [-1.00] of 2; none as small as 1W1A | 0.3%"
        in rows[0]
    )
    assert "2W2A | 200 | 91.00 | 150 | 90.00 | -1.00" in rows[1]
    assert "cnv: +0.25 points [-1.00..+1.50] to the sweep's best cell over 2 seeds, in 81% of its LUTs." in said


def test_a_best_cell_that_no_network_is_as_small_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_tables, "lines", lambda _: [record(0, PAIRS[:1])])
    said = fit_tables.fits()
    assert "| 1W1A | 100 | 79.00 | none as small |  |  |" in said
    assert "in 1 of 1 seeds the fit has no network as small as the best cell" in said
    monkeypatch.setattr(fit_tables, "lines", lambda _: [])
    assert fit_tables.fits() == "Not measured yet."


def network(lut: int, validation: float, test: float) -> dict[str, Any]:
    return {"name": "", "lut": lut, "validation": validation, "test": test}


def test_a_way_is_judged_at_the_luts_of_the_whole_sweeps_front(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [network(100, 80.0, 80.0), network(200, 90.0, 88.0), network(300, 85.0, 99.0)]  # the last is beaten
    fit = [network(150, 91.0, 90.0), network(180, 91.0, 70.0), network(190, 60.0, 99.0)]  # of equals the smallest
    ways = {"whole sweep": whole, "sweep": [network(400, 99.0, 99.0)], "fit": fit}
    assert fit_tables.to_whole(ways, "fit") == [None, 2.0]
    assert fit_tables.to_whole(ways, "sweep") == [None, None]
    records = [record(0, PAIRS), {"benchmark": "fit_ways", "case": "cnv", "seed": 0, "ways": ways}]
    monkeypatch.setattr(fit_tables, "lines", lambda _: records)
    said = fit_tables.fits()
    assert "| cnv | 1 | sweep |  |  |  | 0 of 2 |" in said
    assert "| cnv | 1 | fit | +2.00 | +2.00 | +2.00 | 1 of 2 |" in said
    assert "| cnv | 1 | whole sweep" not in said

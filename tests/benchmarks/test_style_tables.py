"""The record of styles in words: the last search of each network, also where nothing fits."""

from typing import Any

import pytest

from docs_tools import style_tables


def record(**changes: Any) -> dict[str, Any]:
    known = {"network": "CNV_8W8A", "width": 0.25, "board": "Pynq-Z1", "own_fps": 100.4, "fps": 120.0}
    return known | {"used": {"LUT": 5000, "URAM": 0, "DSP": 12}, "styles": {"MVAU_hls_0": {"resType": "dsp"}}} | changes


def test_each_network_has_its_last_search(monkeypatch: pytest.MonkeyPatch) -> None:
    wider = record(width=1.0, own_fps=None, fps=None, used={}, styles={})
    records = [record(fps=1.0), wider, record()]
    monkeypatch.setattr(style_tables, "lines", lambda _: records)
    rows = style_tables.styles().splitlines()[2:]
    assert rows == [
        "| CNV_8W8A width 0.25 | Pynq-Z1 | 100 | 120 | 1 | 5,000 LUT, 12 DSP |",
        "| CNV_8W8A width 1 | Pynq-Z1 | none | none | 0 |  |",
    ]
    monkeypatch.setattr(style_tables, "lines", lambda _: [])
    assert style_tables.styles() == "Not measured yet."

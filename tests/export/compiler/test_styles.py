"""Memory styles and resource types: the choice is exact, and FINN's own nodes offer what its code can build."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtrain.export.compiler import _styles
from qtrain.export.compiler._styles import KINDS, Way, choose, worthwhile
from qtrain.export.compiler.start import compiler_environment

amounts = st.tuples(*(st.integers(0, 30) for _ in KINDS))


@st.composite
def layers(draw):
    """Return up to four layers with up to four ways each."""
    found = {}
    for number in range(draw(st.integers(1, 4))):
        ways = draw(st.lists(amounts, min_size=1, max_size=4))
        found[f"layer{number}"] = [Way({"way": i} if i else {}, way) for i, way in enumerate(ways)]
    return found


def sums(ways) -> list[float]:
    return [sum(way.amounts[i] for way in ways) for i in range(len(KINDS))]


def price(ways, limits) -> tuple[int, float]:
    """Count the changes; of as many, the sum of shares decides."""
    shares = sum(used / max(limits[kind], 1) for kind, used in zip(KINDS, sums(ways), strict=True))
    return sum(bool(way.attributes) for way in ways), shares


@given(layers=layers(), limits=st.tuples(*(st.integers(0, 60) for _ in KINDS)))
@settings(max_examples=60, deadline=None)
def test_the_choice_is_the_best_of_all(layers, limits):
    most = dict(zip(KINDS, limits, strict=True))
    fitting = [
        ways
        for ways in product(*layers.values())
        if all(used <= limit for used, limit in zip(sums(ways), limits, strict=True))
    ]
    chosen = choose(layers, most)
    if not fitting:
        assert chosen is None
        return
    assert chosen is not None
    taken = [ways[chosen.get(name, {}).get("way", 0)] for name, ways in layers.items()]
    assert all(used <= limit for used, limit in zip(sums(taken), limits, strict=True))
    changes, shares = price(taken, most)
    best = min(price(ways, most) for ways in fitting)
    assert changes == best[0]
    assert shares == pytest.approx(best[1], abs=1e-6)


def test_what_fits_in_finns_own_styles_is_left_as_it_is():
    ways = [Way({}, (50, 10, 0, 0)), Way({"ram_style": "distributed"}, (51, 0, 0, 0))]
    assert choose({"a": ways}, {"LUT": 100, "BRAM_18K": 10, "URAM": 0, "DSP": 0}) == {}


def test_what_costs_nothing_by_the_count_is_not_offered_and_what_another_beats_neither():
    own = Way({}, (100, 10, 0, 0))
    free = Way({"ram_style": "distributed"}, (100, 0, 0, 0))  # the LUTs of its memory are not counted
    pointless = Way({"ram_style": "block"}, (100, 10, 0, 0))
    worse = Way({"resType": "lut"}, (130, 12, 0, 0))
    good = Way({"resType": "dsp"}, (40, 10, 0, 8))
    beaten = Way({"resType": "auto"}, (45, 10, 0, 8))
    twin = Way({"resType": "twin"}, (40, 10, 0, 8))
    assert worthwhile([own, free, pointless, worse, beaten, good, twin]) == [own, good]


def matrix_unit(kind: str, weights: str, inputs: str, **more) -> dict:
    """Return the operator and the attributes of a unit of 64 rows and 576 columns."""
    attributes = {"PE": 8, "SIMD": 8, "MW": 576, "MH": 64, "noActivation": 1, "numInputVectors": [1, 4, 4]}
    types = {"inputDataType": inputs, "weightDataType": weights, "outputDataType": "INT24", "accDataType": "INT24"}
    return {"operator": kind, "attributes": attributes | types | more}


WINDOW = {
    "operator": "ConvolutionInputGenerator_rtl",
    "attributes": {
        "ConvKernelDim": [3, 3],
        "IFMChannels": 64,
        "IFMDim": [32, 32],
        "OFMDim": [30, 30],
        "SIMD": 8,
        "Stride": [1, 1],
        "Dilation": [1, 1],
        "inputDataType": "UINT4",
        "outputDataType": "UINT4",
        "depthwise": 0,
    },
}
THRESHOLDS = {
    "operator": "Thresholding_rtl",
    "attributes": {
        "PE": 1,
        "NumChannels": 64,
        "numSteps": 255,
        "inputDataType": "INT20",
        "weightDataType": "INT20",
        "outputDataType": "UINT8",
        "numInputVectors": [1, 4, 4],
    },
}
DEPTHWISE = {
    "operator": "VVAU_hls",
    "attributes": {
        "PE": 4,
        "SIMD": 9,
        "Dim": [4, 4],
        "Channels": 64,
        "Kernel": [3, 3],
        "inputDataType": "UINT4",
        "weightDataType": "INT4",
        "outputDataType": "INT16",
        "noActivation": 1,
    },
}
ASK = """
import importlib.util, json, os, sys
spec = importlib.util.spec_from_file_location("_styles", sys.argv[1])
styles = importlib.util.module_from_spec(spec)
spec.loader.exec_module(styles)
import finn.xsi
for name in finn.xsi._LAZY_NAMES:
    setattr(finn.xsi, name, type(name, (), {}))
from onnx import helper
answers = []
for part, question in json.load(sys.stdin):
    domain = "finn.custom_op.fpgadataflow." + question["operator"].rpartition("_")[2]
    options = {"domain": domain, "backend": "fpgadataflow", "name": "unit"} | question["attributes"]
    node = helper.make_node(question["operator"], ["x", "w"], ["y"], **options)
    before = node.SerializeToString()
    ways = styles.ways_of(node, part)
    answers.append({"ways": [list(way) for way in ways], "same": node.SerializeToString() == before})
print("ANSWERS" + json.dumps(answers))
"""
ZYNQ, ULTRASCALE, VERSAL = "xc7z020clg400-1", "xczu7ev-ffvc1156-2-e", "xcvc1902-vsva2197-2MP-e-S"


@pytest.mark.slow
def test_each_operator_of_finn_offers_what_its_code_builds_and_its_estimate_counts(finn_plus: str, tmp_path: Path):
    questions = {
        "numbers": (ULTRASCALE, matrix_unit("MVAU_hls", "INT4", "UINT4")),
        "signs": (ULTRASCALE, matrix_unit("MVAU_hls", "BIPOLAR", "UINT2")),
        "xnor": (ULTRASCALE, matrix_unit("MVAU_hls", "BINARY", "BINARY", binaryXnorMode=1)),
        "deep": (ULTRASCALE, matrix_unit("MVAU_hls", "INT4", "UINT4", PE=1, SIMD=1)),
        "outside": (ULTRASCALE, matrix_unit("MVAU_hls", "INT4", "UINT4", mem_mode="external")),
        "rtl": (ULTRASCALE, matrix_unit("MVAU_rtl", "INT8", "UINT8")),
        "versal": (VERSAL, matrix_unit("MVAU_rtl", "INT8", "UINT8")),
        "window": (ULTRASCALE, WINDOW),
        "thresholds": (ZYNQ, THRESHOLDS),
        "lanes": (ULTRASCALE, DEPTHWISE),
    }
    script = tmp_path / "ask.py"
    script.write_text(ASK)
    command = [finn_plus, "-P", "-W", "ignore", str(script), _styles.__file__]
    text = json.dumps(list(questions.values()))
    run = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, env=compiler_environment(tmp_path)
    )
    assert run.returncode == 0, run.stderr
    found = dict(zip(questions, json.loads(run.stdout.partition("ANSWERS")[2]), strict=True))
    assert all(answer["same"] for answer in found.values())
    offered = {name: [way[0] for way in answer["ways"]] for name, answer in found.items()}
    distributed, dsp = {"ram_style": "distributed"}, {"resType": "dsp"}
    assert sorted(offered["numbers"], key=str) == sorted([{}, distributed, dsp, distributed | dsp], key=str)
    assert offered["signs"] == [{}, distributed]
    assert offered["xnor"] == [{}, distributed]
    assert offered["deep"] == [{}, dsp]  # 36,864 words
    assert offered["outside"] == [{}]
    assert offered["rtl"] == [{}]
    assert offered["versal"] == [{}, {"ram_style": "ultra"}]
    assert offered["window"] == [{}, {"ram_style": "block"}, {"ram_style": "ultra"}]
    assert not any("resType" in way for way in offered["lanes"])  # FINN counts a slice for all lanes of one
    depths = [way["depth_trigger_bram"] for way in offered["thresholds"][1:]]
    assert depths
    assert all(depth > 64 and depth in [64 * 2**level for level in range(8)] for depth in depths)
    lut, bram, uram, _ = found["thresholds"]["ways"][-1][1]
    own = found["thresholds"]["ways"][0][1]
    assert lut < own[0]
    assert bram > own[1]
    assert uram == 0
    for answer in found.values():
        first, *others = (way[1] for way in answer["ways"])
        for other in others:
            assert any(a > b for a, b in zip(other, first, strict=True))
            assert any(a < b for a, b in zip(other, first, strict=True))


def test_the_file_imports_nothing_of_qtrain():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); assert not any(n.startswith('qtrain') for n in sys.modules)"
    assert subprocess.run([sys.executable, "-I", "-c", code, _styles.__file__], check=False).returncode == 0

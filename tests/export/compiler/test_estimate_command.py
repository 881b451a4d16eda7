"""``qtrain estimate`` where there is nothing to compile: costs without the compiler, tables, figures, wrong input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from qtrain.records.estimate import Estimate, LayerEstimate
from qtrain.records.files import write_json
from tests.checks import check_refusal, tree
from tests.export.folder.tampering import write_manifest
from tests.exported_folders import export_cnv

ESTIMATE = {
    "label": "FINN's estimate, not synthesis",
    "board": "Pynq-Z1",
    "clock_ns": 10.0,
    "target_fps": 1000,
    "mvau_wwidth_max": 36,
    "fps": 1205.6,
    "cycles": 82_944,
    "latency_ns": 4_876_500.0,
    "slowest": "MVAU_hls_0",
    "used": {"LUT": 6064, "BRAM_18K": 10, "URAM": 0, "DSP": 0},
    "available": {"LUT": 53_200, "BRAM_18K": 280, "URAM": 0, "DSP": 220},
    "shares": {"LUT": 0.114, "BRAM_18K": 0.0357, "URAM": 0.0, "DSP": 0.0},
    "max_utilization": 1.0,
    "fits": True,
    "probes": [],
    "layers": [
        {"name": "ConvolutionInputGenerator_rtl_0", "place": "before conv1", "cycles": 24_501, "lut": 64,
         "bram_18k": 0, "uram": 0, "dsp": 0},
        {"name": "MVAU_hls_0", "place": "conv1", "cycles": 82_944, "lut": 6000, "bram_18k": 10, "uram": 0, "dsp": 0},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the smallest FINN folder."""
    return export_cnv("CNV_1W1A", tmp_path_factory.mktemp("exported") / "finn", images=8)


@pytest.fixture
def finn(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy to damage; it is ./finn."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(exported, tmp_path / "finn"))


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide finn-plus from the look-up of installed packages, as where it was never installed."""
    import importlib.metadata

    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "finn-plus":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.delenv("QTRAIN_FINN_PYTHON", raising=False)
    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("target", ["finn", "finn/model.onnx"])
def test_without_the_compiler_costs_are_printed_and_how_to_install_it(
    finn: Path, cli: Callable[..., Any], target: str
) -> None:
    before = tree(finn)
    outcome = cli("estimate", target)
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[-1].startswith("These are counts from the graph, not hardware estimates")
    assert "make finn" in lines[-1]
    assert [line.split()[0] for line in lines if line.startswith(("conv", "fc"))][-1] == "fc3"
    assert tree(finn) == before


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("flag", ["--max-fps", "--save-folding"])
def test_without_the_compiler_nothing_is_searched_or_saved(finn: Path, cli: Callable[..., Any], flag: str) -> None:
    check_refusal(cli("estimate", "finn", flag), 2, f"{flag} needs the compiler's estimate", "make finn")


def test_costs_can_be_asked_for_with_the_compiler_installed(finn: Path, cli: Callable[..., Any]) -> None:
    outcome = cli("estimate", "finn", "--cost-only", "--json")
    cost = json.loads(outcome.out)
    assert cost["macs"] == sum(layer["macs"] for layer in cost["layers"]) > 0
    assert cost["bops"] > cost["macs"]  # the first layer's input has 8 bits
    assert cost["label"] == "counts from the graph, not hardware estimates"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere",), "nowhere does not exist"),
        (("nowhere.onnx",), "nowhere.onnx does not exist"),
        (("short.onnx",), "short.onnx is not an ONNX file, or cut short"),
        (("short.onnx", "--cost-only"), "short.onnx is not an ONNX file, or cut short"),
        (("finn", "--board", "ZCU105"), "unknown board 'ZCU105'"),
        (("finn/model.onnx", "--board", "zcu104"), "did you mean ZCU104"),
        (("finn", "--cost-only", "--board", "ZCU105"), "unknown board 'ZCU105'"),
        (("finn", "--max-utilization", "1.5"), "max_utilization is 1.5: it must be above 0 and at most 1"),
        (("finn", "--mvau-wwidth-max", "0"), "mvau_wwidth_max is 0: it must be above 0"),
        (("finn", "--max-utilization", "0"), "max_utilization is 0"),
        (("finn", "--max-utilization", "most"), "max_utilization must be a number, but got 'most'"),
        (("finn", "--cost-only", "--max-fps"), "--max-fps needs the compiler's estimate, but --cost-only"),
        (("finn/model.onnx", "--save-folding"), "--save-folding writes into a FINN folder"),
        (("other-format",), "has format 9, this qtrain reads 2"),
        (("other-format", "--cost-only"), "has format 9, this qtrain reads 2"),
        (("finn", "--out", "finn/build"), "--out finn/build lies in the FINN folder"),
        (("no-folding",), "folding_config.json is no folding configuration"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    finn: Path, finn_plus: str, cli: Callable[..., Any], words: tuple[str, ...], says: str
) -> None:
    content = (finn / "model.onnx").read_bytes()
    Path("short.onnx").write_bytes(content[: len(content) // 2])
    shutil.copytree(finn, "other-format")
    manifest = json.loads((finn / "manifest.json").read_text())
    write_json(Path("other-format/manifest.json"), {**manifest, "format": 9})
    shutil.copytree(finn, "no-folding")
    config = yaml.safe_load((finn / "build_config.yaml").read_text())
    config["folding_config_file"] = "folding_config.json"
    Path("no-folding/build_config.yaml").write_text(yaml.safe_dump(config))
    Path("no-folding/folding_config.json").write_text("no folding")
    write_manifest(Path("no-folding"), manifest, also=("folding_config.json",))
    before = tree(Path.cwd())
    check_refusal(cli("estimate", *words), 2, says)
    assert tree(Path.cwd()) == before


def test_an_estimate_is_printed_by_layer_and_against_the_board(capsys: pytest.CaptureFixture[str]) -> None:
    from qtrain.report.estimate import print_estimate

    print_estimate(ESTIMATE, ("initial_python", "lowered", "hardware_python"))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "FINN executed 3 graphs, initial_python to hardware_python: all answers are torch's"
    assert "before conv1 ConvInpGen_rtl_0 24,501 64 0 0 0" in lines
    assert "slowest layer MVAU_hls_0 (conv1): 82,944 cycles" in lines
    for row in ("frames a second 1,206 of 1,000", "LUT 6,064 of 53,200 (11%)", "URAM 0 of 0", "Fits Pynq-Z1: 11% LUT."):
        assert row in lines
    assert lines[-1] == "FINN's estimate, not synthesis."


STYLES = {"ram_style": "distributed", "resType": "dsp"}
STYLED = {
    **ESTIMATE,
    "layers": [
        {**ESTIMATE["layers"][0], "operator": "ConvolutionInputGenerator_rtl", "styles": {"ram_style": "ultra"}},
        {**ESTIMATE["layers"][1], "operator": "MVAU_hls", "styles": STYLES},
        {**ESTIMATE["layers"][0], "name": "Thresholding_rtl_0", "place": "", "operator": "Thresholding_rtl",
         "styles": {"depth_trigger_bram": 2048, "depth_trigger_uram": 1 << 30}},
    ],
    "in_own_styles": {"LUT": 60_000, "BRAM_18K": 291, "URAM": 0, "DSP": 0},
}  # fmt: skip


def test_layers_in_other_styles_are_named_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    from qtrain.report.estimate import print_estimate

    probe = {"target_fps": 1200, "mvau_wwidth_max": 36, "fps": 1205.6, "fits": True, "styles": {"MVAU_hls_0": STYLES}}
    print_estimate({**STYLED, "probes": [probe], "all_faster_tried": True}, ())
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "before conv1 ConvInpGen_rtl_0 buffer in URAM" in lines
    assert "conv1 MVAU_hls_0 weights in LUT RAM, multipliers in DSP" in lines
    assert "Thresholding_rtl_0 thresholds in BRAM from 2,048 words on" in lines
    why = "In FINN's own styles this folding would take 60,000 of 53,200 LUT and 291 of 280 BRAM_18K: "
    assert why + "3 layers have others, so that it fits." in lines
    assert any('"2 styled": fits' in line for line in lines)
    assert any(line.startswith("1,200 36 1,206") and line.endswith("1 styled") for line in lines)


def test_a_saved_folding_with_styles_says_that_it_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    from qtrain.report.estimate import print_estimate

    print_estimate({**STYLED, "layers": STYLED["layers"][:2], "in_own_styles": {}}, ())
    assert "2 layers have other memory styles or resource types than FINN's own" in capsys.readouterr().out


def test_the_figure_names_the_styles_of_layers() -> None:
    from qtrain.report.estimate_figure import draw_estimate

    labels = [label.get_text() for label in draw_estimate(STYLED, "CNV").axes[0].get_yticklabels()]
    assert labels[1] == "conv1  ·  MVAU_hls_0\nweights in LUT RAM, multipliers in DSP"


def test_what_does_not_fit_is_said_by_the_fullest_resource(capsys: pytest.CaptureFixture[str]) -> None:
    from qtrain.report.estimate import print_estimate

    full = {"used": {**ESTIMATE["used"], "URAM": 5}, "shares": {**ESTIMATE["shares"], "URAM": None}, "fits": False}
    print_estimate({**ESTIMATE, **full}, ())
    assert "Does not fit Pynq-Z1: 5 of 0 URAM." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("operator", "width", "hint"), [("MVAU_hls", 36, True), ("MVAU_hls", None, False), ("Pool_hls", 36, False)]
)
def test_a_missed_target_names_the_width_of_streams_where_it_is_in_the_way(
    operator: str, width: int | None, hint: bool
) -> None:
    layer = LayerEstimate("the_layer", operator, "conv1", cycles=82_944, lut=1, bram_18k=0, uram=0, dsp=0)
    kept = {key: value for key, value in ESTIMATE.items() if key != "shares"}
    changed = {"target_fps": 50_000, "mvau_wwidth_max": width, "slowest": "the_layer", "layers": (layer,)}
    (problem,) = Estimate(**{**kept, **changed, "part": "", "versions": {}}).problems()
    assert "reaches 1,206 of 50,000 frames/s: the_layer (conv1) takes 82,944 cycles" in problem
    assert ("--mvau-wwidth-max above 36" in problem) == hint


def test_the_figure_says_what_it_is_and_shows_each_layer() -> None:
    from qtrain.report.estimate_figure import draw_estimate

    figure = draw_estimate(ESTIMATE, "CNV")
    assert "FINN's estimate, not synthesis" in figure.get_suptitle()
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "before conv1  ·  ConvolutionInputGenerator_rtl_0",
        "conv1  ·  MVAU_hls_0",
    ]
    assert [bar.get_width() for bar in left.patches] == [24_501, 82_944]
    assert [round(bar.get_width(), 2) for bar in right.patches] == [0.12, 11.28, 0, 3.57]  # % of LUT, then of BRAM


def test_a_figure_of_a_deep_network_keeps_the_largest_layers_and_says_so() -> None:
    from qtrain.report.estimate_figure import draw_estimate, shown_layers

    many = [{**ESTIMATE["layers"][0], "name": f"Thresholding_rtl_{i}", "cycles": i} for i in range(100)]
    deep = {**ESTIMATE, "layers": [*many, ESTIMATE["layers"][1]]}
    assert len(shown_layers(deep)) == 60
    assert shown_layers(deep)[-1]["name"] == "MVAU_hls_0"
    assert "41 smaller layers are not shown" in draw_estimate(deep, "deep").get_suptitle()


def test_a_figure_has_the_name_of_the_network_not_of_its_folder(finn: Path, tmp_path: Path) -> None:
    from qtrain.commands.estimating import network_name

    assert network_name(finn) == "CNV"  # its folder is finn
    bare = Path(shutil.copyfile(finn / "model.onnx", tmp_path / "mine.onnx"))
    assert network_name(bare) == "mine.onnx"

"""``qtrain estimate`` with the real compiler: tables, JSON, figure, the search and the folding that it saves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from qtrain.errors import UserError
from qtrain.export import get_board
from qtrain.export.compiler.estimate import read_estimate
from qtrain.export.compiler.start import estimate_build
from qtrain.export.folder.folding import save_folding
from qtrain.records.checksum import without_checksum
from tests.checks import check_refusal, tree
from tests.exported_folders import export_cnv, export_tfc


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a FINN folder: a narrow CNV whose statistics have moved."""
    return export_cnv("CNV_1W2A", tmp_path_factory.mktemp("exported") / "finn", images=4)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the FINN folder of a network that is compiled faster."""
    return export_tfc(tmp_path_factory.mktemp("small") / "finn", images=4)


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    """Return a copy of it to change."""
    return Path(shutil.copytree(small, tmp_path / "finn"))


@pytest.fixture(scope="module")
def searched(finn_plus: str, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Search the most frames/s of half the board, once, as a user does, and save the folding."""
    place = tmp_path_factory.mktemp("searched")
    folder = Path(shutil.copytree(exported, place / "finn"))
    command = [sys.executable, "-W", "ignore", "-c", "from qtrain.cli import main; main()", "estimate", str(folder)]
    command += ["--out", str(place / "out"), "--max-fps", "--max-utilization", "0.5", "--save-folding", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return {"folder": folder, "out": place / "out", "estimate": json.loads(run.stdout)}


def test_the_search_ends_at_the_edge_of_what_may_be_used(searched: dict[str, Any]) -> None:
    estimate = searched["estimate"]
    probes = estimate["probes"]
    limit = {kind: 0.5 * has for kind, has in estimate["available"].items()}
    for probe in probes:
        assert probe["fits"] == all(probe[kind] <= limit[kind] for kind in limit)
    best = max(probe["fps"] for probe in probes if probe["fits"])
    assert estimate["fps"] == best
    assert max(probe["fps"] for probe in probes) > best
    assert estimate["all_faster_tried"]
    assert estimate["fits"]
    assert max(estimate["shares"].values()) <= 0.5
    assert estimate["meets_target"]
    assert estimate["target_fps"] > 1000  # the folder's own
    wide = [probe for probe in probes if probe["mvau_wwidth_max"] > 36]
    narrow = max(probe["fps"] for probe in probes if probe not in wide)
    assert max(probe["fps"] for probe in wide) > narrow
    assert estimate["mvau_wwidth_max"] == next(p["mvau_wwidth_max"] for p in probes if p["fps"] == best and p["fits"])


def test_the_estimate_adds_up(searched: dict[str, Any]) -> None:
    estimate = searched["estimate"]
    layers = estimate["layers"]
    assert without_checksum(json.loads((searched["out"] / "estimate.json").read_text())) == estimate
    for kind, field in (("LUT", "lut"), ("BRAM_18K", "bram_18k"), ("URAM", "uram"), ("DSP", "dsp")):
        assert estimate["used"][kind] == pytest.approx(sum(layer[field] for layer in layers), abs=len(layers))
    slowest = max(layers, key=lambda layer: layer["cycles"])
    assert (estimate["slowest"], estimate["cycles"]) == (slowest["name"], slowest["cycles"])
    assert estimate["fps"] == pytest.approx(1e9 / estimate["clock_ns"] / estimate["cycles"])
    assert "not synthesis" in estimate["label"]
    assert {"finn-plus", "qonnx"} <= estimate["versions"].keys()


def test_matrix_units_have_the_names_of_the_networks_layers(searched: dict[str, Any]) -> None:
    layers = searched["estimate"]["layers"]
    units = [layer["place"] for layer in layers if layer["operator"].startswith("MVAU")]
    assert units == [*(f"conv{i}" for i in range(1, 7)), "fc1", "fc2", "fc3"]
    places = {layer["name"]: layer["place"] for layer in layers}
    assert places["ConvolutionInputGenerator_rtl_0"] == "before conv1"
    assert places["LabelSelect_hls_0"] == "after fc3"


def test_the_figure_is_a_picture(searched: dict[str, Any]) -> None:
    from matplotlib.image import imread

    picture = imread(searched["out"] / "estimate.png")
    assert picture.shape[1] > 1000
    assert picture.std() > 0.05  # not blank


def test_the_saved_folding_is_what_the_build_starts_from_and_the_folder_still_proves_itself(
    searched: dict[str, Any], tmp_path: Path, cli: Callable[..., Any]
) -> None:
    folder, estimate = searched["folder"], searched["estimate"]
    official = json.loads((folder / "official_build_config.json").read_text())
    plus = yaml.safe_load((folder / "build_config.yaml").read_text())
    assert plus["folding_config_file"] == "folding_config.json"
    assert official["folding_config_file"] == "official_folding_config.json"
    for config in (official, plus):
        assert config["target_fps"] == estimate["target_fps"]
        assert config["mvau_wwidth_max"] == estimate["mvau_wwidth_max"] > 36
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {"folding_config.json", "official_folding_config.json"} <= set(manifest["files"])
    assert manifest["folding"]["made_by"] == f"finn-plus {estimate['versions']['finn-plus']}"
    assert manifest["folding"]["made_by"] in (folder / "README.md").read_text()
    assert cli("verify", folder).status == 0
    again = cli("estimate", folder, "--out", tmp_path / "again", "--json")
    assert again.status == 0
    assert again.err.count("\n") == 1
    assert "executing the folder's own build steps" in again.err
    found = json.loads(again.out)
    assert [layer["cycles"] for layer in found["layers"]] == [layer["cycles"] for layer in estimate["layers"]]
    assert found["used"] == estimate["used"]
    assert (tmp_path / "again" / "report" / "applied_folding_config.json").is_file()  # FINN's own word for it


@pytest.mark.slow
def test_what_fits_in_other_styles_alone_is_found_saved_and_estimated_again(
    finn_plus: str, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    folder = export_cnv("CNV_2W2A", tmp_path / "finn", images=4)
    limits = ("--max-utilization", 0.15, "--mvau-wwidth-max", 36)
    run = cli("estimate", folder, "--out", tmp_path / "out", "--max-fps", *limits, "--save-folding", "--json")
    assert run.status == 0
    estimate = json.loads(run.out)
    most = {kind: 0.15 * has for kind, has in estimate["available"].items()}
    best = next(probe for probe in estimate["probes"] if probe["fits"] and probe["fps"] == estimate["fps"])
    styles = {layer["name"]: layer["styles"] for layer in estimate["layers"] if layer["styles"]}
    assert styles == best["styles"] != {}
    assert estimate["in_own_styles"] == {kind: round(amount) for kind, amount in best["own"].items()}
    assert any(best["own"][kind] > most[kind] for kind in most)
    assert all(estimate["used"][kind] <= most[kind] for kind in most)
    in_own = [probe["fps"] for probe in estimate["probes"] if probe["fits"] and not probe.get("styles")]
    assert estimate["fps"] > max(in_own)
    saved = json.loads((folder / "folding_config.json").read_text())
    official = json.loads((folder / "official_folding_config.json").read_text())
    for name, chosen in styles.items():
        assert chosen.items() <= saved[name].items()
        if name.startswith("MVAU"):
            assert chosen.items() <= official[name].items()
    again = cli("estimate", folder, "--out", tmp_path / "again", "--json")
    found = json.loads(again.out)
    assert again.status == 0
    assert found["used"] == estimate["used"]
    assert [layer["styles"] for layer in found["layers"]] == [layer["styles"] for layer in estimate["layers"]]
    assert cli("verify", folder).status == 0


def test_a_target_that_nothing_reaches_is_status_1_and_one_line(
    finn_plus: str, folder: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    before = tree(folder)
    missed = cli("estimate", folder, "--target-fps", 50_000_000, "--out", tmp_path / "out", "--save-folding")
    check_refusal(missed, 1, "by FINN's estimate it reaches", "of 50,000,000 frames/s: ", "cycles")
    assert tree(folder) == before


def test_a_network_that_fits_at_no_target_is_status_1_and_one_line(
    finn_plus: str, folder: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    words = ("--max-fps", "--max-utilization", "0.005", "--save-folding", "--out", tmp_path / "out")
    outcome = cli("estimate", folder, *words)
    check_refusal(
        outcome, 1, "foldings fits Pynq-Z1: for 1 frame/s it already needs", "LUT", "and 0.005 of that may be used"
    )
    assert not (folder / "folding_config.json").exists()


def test_a_bare_file_is_estimated_without_a_manifest(
    finn_plus: str, folder: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    bare = tmp_path / "net.onnx"
    shutil.copyfile(folder / "model.onnx", bare)
    outcome = cli("estimate", bare, "--board", "Ultra96", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert (found["board"], found["target_fps"], found["clock_ns"]) == ("Ultra96", 1000, 10.0)
    assert (tmp_path / "net-estimate" / "estimate.png").is_file()
    assert not {path.name for path in tmp_path.iterdir()} - {"net.onnx", "net-estimate", "finn"}


def test_ctrl_c_while_the_compiler_runs_leaves_nothing(finn_plus: str, folder: Path, tmp_path: Path) -> None:
    before, out = tree(folder), tmp_path / "out"
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom qtrain.cli import main; main()"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, "estimate", str(folder), "--out", str(out), "--save-folding"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    end = time.monotonic() + 60
    while not (out / "compiler.log").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    assert "interrupted" in process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert not out.exists()
    assert tree(folder) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_saving_changes_all_files_or_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException
) -> None:
    before, real, calls = tree(folder), os.replace, []

    def breaks(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == after + 1:
            raise error
        real(source, target)

    monkeypatch.setattr(os, "replace", breaks)
    expected = KeyboardInterrupt if error is KeyboardInterrupt else UserError
    with pytest.raises(expected):
        save_folding(folder, {"Defaults": {}}, get_board("ZCU104"), 2000, 5.0, made_by="finn-plus 1.6.1")
    assert tree(folder) == before


def test_the_reports_of_a_build_that_is_gone_are_one_line(finn_plus: str, folder: Path, tmp_path: Path) -> None:
    build = estimate_build(folder, board="Pynq-Z1", target_fps=10, out=tmp_path / "out", timeout_s=0.5)
    with pytest.raises(UserError, match=r"estimate_layer_cycles\.json cannot be read"):
        read_estimate(build, folder / "model.onnx", get_board("Pynq-Z1"), target_fps=10, clock_ns=10.0)

"""A folding is for the compiler that made it: what another one gets of it, and what it says of itself."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from benchmarks.kills import run
from qtrain.errors import UserError
from qtrain.export import ProofError, get_board, verify
from qtrain.export.folder.change import CHANGE, end_change
from qtrain.export.folder.contents import SIGNATURES, check_files, read_manifest
from qtrain.export.folder.folding import official_folding, save_folding, saved_folding
from qtrain.records.files import write_json
from tests.checks import check_refusal, tree
from tests.exported_folders import export_tfc

# Of a CNV: the layers that FINN+ folded, and those that official FINN's main makes of the same network.
FINN_PLUS = {
    "Defaults": {},
    "Thresholding_rtl_0": {"PE": 3, "runtime_writeable_weights": 0, "depth_trigger_uram": 0},
    "ConvolutionInputGenerator_rtl_0": {"SIMD": 3, "parallel_window": 1, "ram_style": "distributed"},
    "MVAU_hls_0": {"PE": 16, "SIMD": 9, "ram_style": "auto", "ram_style_thresholds": "auto", "resType": "lut"},
    "ConvolutionInputGenerator_rtl_1": {"SIMD": 16, "parallel_window": 0, "ram_style": "distributed"},
    "Pool_hls_0": {"PE": 8},
    "ConvolutionInputGenerator_rtl_2": {"SIMD": 4, "parallel_window": 0, "ram_style": "distributed"},
    "MVAU_rtl_0": {"PE": 2, "SIMD": 4, "mem_mode": "internal_decoupled"},
    "VVAU_hls_0": {"PE": 4, "SIMD": 3},
    "ElementwiseAdd_hls_0": {"PE": 2},
    "LabelSelect_hls_0": {"PE": 1},
}
MAIN = (
    "Thresholding_rtl_0",
    "ConvolutionInputGenerator_rtl_0",
    "MVAU_hls_0",
    "StreamingMaxPool_hls_0",
    "ConvolutionInputGenerator_rtl_1",  # FINN+'s number 2
    "MVAU_rtl_0",
    "VVAU_hls_0",
    "AddStreams_hls_0",
    "LabelSelect_hls_0",
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tfc(tmp_path_factory.mktemp("folding") / "finn", images=4)


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "finn"))


def save(folder: Path, **more: Any) -> None:
    save_folding(folder, FINN_PLUS, get_board("ZCU104"), 2000, 5.0, made_by="finn-plus 1.6.1", **more)


def test_units_and_thresholds_go_over_by_name_with_what_all_compilers_know() -> None:
    assert official_folding(FINN_PLUS) == {
        "Defaults": {},
        "Thresholding_rtl_0": {"PE": 3},
        "MVAU_hls_0": {"PE": 16, "SIMD": 9},
        "MVAU_rtl_0": {"PE": 2, "SIMD": 4},
        "VVAU_hls_0": {"PE": 4, "SIMD": 3},
    }


def test_styles_that_were_chosen_go_over_and_no_others() -> None:
    chosen = {"MVAU_hls_0": {"resType": "dsp"}, "ConvolutionInputGenerator_rtl_0": {"ram_style": "block"}}
    folding = {**FINN_PLUS, "MVAU_hls_0": {**FINN_PLUS["MVAU_hls_0"], "resType": "dsp"}}
    translated = official_folding(folding, chosen)
    assert translated.pop("MVAU_hls_0") == {"PE": 16, "SIMD": 9, "resType": "dsp"}
    assert all(layer.keys() <= {"PE", "SIMD"} for layer in translated.values())
    assert "ConvolutionInputGenerator_rtl_0" not in translated  # another layer in main


def test_no_other_layer_of_main_is_reached() -> None:
    """As FINN applies a folding: each node takes what stands under its name."""
    nodes = [helper.make_node(name.rsplit("_", 1)[0], ["a"], ["b"], name=name) for name in MAIN]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    graph = helper.make_graph(nodes, "main", values[:1], values[1:])

    def reached(folding: dict[str, Any]) -> list[str]:
        return [node.name for node in graph.node if node.name in folding]

    assert "ConvolutionInputGenerator_rtl_1" in reached(FINN_PLUS)  # the fault: meant for the pool's generator
    assert reached(official_folding(FINN_PLUS)) == ["Thresholding_rtl_0", "MVAU_hls_0", "MVAU_rtl_0", "VVAU_hls_0"]


@given(st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers()) | st.integers() | st.none()))
def test_whatever_a_folding_holds_its_translation_is_a_part_of_it(folding: dict[str, Any]) -> None:
    translated = official_folding(folding)
    assert translated.pop("Defaults") == {}
    for name, layer in translated.items():
        assert layer.items() <= folding[name].items()
        assert layer.keys() <= {"PE", "SIMD"}


def test_each_configuration_names_its_own_folding(folder: Path) -> None:
    save(folder, mvau_wwidth_max=128)
    plus = yaml.safe_load((folder / "build_config.yaml").read_text())
    official = json.loads((folder / "official_build_config.json").read_text())
    assert json.loads((folder / plus["folding_config_file"]).read_text()) == FINN_PLUS
    assert json.loads((folder / official["folding_config_file"]).read_text()) == official_folding(FINN_PLUS)
    assert saved_folding(folder) == folder / "folding_config.json"
    for config in (plus, official):
        assert (config["board"], config["target_fps"], config["synth_clk_period_ns"]) == ("ZCU104", 2000, 5.0)
        assert config["mvau_wwidth_max"] == 128  # official FINN folds the generators as fast as the units
    assert official["fpga_part"] == "xczu7ev-ffvc1156-2-e"
    assert verify(folder).equal == 4


def test_the_folder_says_which_compiler_its_folding_is_for(folder: Path) -> None:
    before = (folder / "README.md").read_text()
    assert "folding_config.json" not in before
    save(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["folding"] == {"made_by": "finn-plus 1.6.1", "mvau_wwidth_max": 36}
    readme = (folder / "README.md").read_text()
    assert "made by finn-plus 1.6.1 and for it alone" in readme
    assert "For ZCU104 at 2,000 frames/s and 5 ns." in readme


def test_a_folder_of_before_is_told_to_be_exported_again(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", {**manifest, "format": 1})
    before = tree(folder)
    for what in (verify, save):
        with pytest.raises(UserError, match=r"written by an earlier version of qtrain.*export the run again"):
            what(folder)
    assert tree(folder) == before


def test_nothing_is_saved_into_a_folder_that_was_changed(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"other")
    before = tree(folder)
    with pytest.raises(ProofError, match=r"changed: model\.onnx"):
        save(folder)
    assert tree(folder) == before


@pytest.mark.parametrize("content", [b"", b"- 1", b"folding_config_file: 3", b"a: [", b"\xff", b"folding_config_file:"])
def test_a_configuration_that_names_no_folding_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "build_config.yaml").write_bytes(content)
    assert saved_folding(tmp_path) is None


def test_a_save_that_is_killed_anywhere_changes_all_files_or_none(folder: Path, tmp_path: Path) -> None:
    (folder / SIGNATURES[0]).write_text("of another manifest\n")
    before = tree(folder)
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    events = run(lambda: save(Path("whole")), tmp_path).events
    after = tree(whole)
    assert after != before
    ends = set()
    for at in range(1, events + 1, 3):
        killed = Path(shutil.copytree(folder, tmp_path / "killed"))
        assert run(lambda: save(Path("killed")), tmp_path, at).killed
        decided = (killed / CHANGE).exists()
        if decided:
            with pytest.raises(UserError, match=r"is half changed: .*`qtrain estimate .*killed --cost-only` ends that"):
                read_manifest(killed)
            end_change(killed)
        else:
            check_files(killed, read_manifest(killed))
        left = {name: what for name, what in tree(killed).items() if not name.startswith(f".{CHANGE}")}
        assert left in (before, after)
        ends.add((decided, left == after))
        save(killed)
        assert tree(killed) == after
        shutil.rmtree(killed)
    assert ends >= {(False, False), (True, True)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["finn", "whole"]  # the locks are gone


def test_a_strangers_folder_has_nothing_moved_that_qtrain_does_not_change(folder: Path) -> None:
    (folder / CHANGE / "board").mkdir(parents=True)
    (folder / CHANGE / "model.onnx").write_text("theirs")
    with pytest.raises(ProofError, match="holds other files than qtrain changes"):
        end_change(folder)
    (folder / CHANGE / "model.onnx").unlink()
    (folder / CHANGE / "board" / "classes.json").write_text("theirs")
    shutil.move(folder / "board", folder.parent / "elsewhere")
    (folder / "board").symlink_to(folder.parent / "elsewhere")
    before = tree(folder.parent / "elsewhere")
    with pytest.raises(ProofError, match="holds other files than qtrain changes"):
        end_change(folder)
    assert tree(folder.parent / "elsewhere") == before


def test_estimating_ends_what_a_killed_process_began(folder: Path, cli: Callable, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    save(whole)
    (folder / CHANGE).mkdir()
    shutil.copy(whole / "manifest.json", folder / CHANGE)
    shutil.copy(whole / "README.md", folder / CHANGE)
    for name in ("folding_config.json", "official_folding_config.json", "build_config.yaml"):
        shutil.copy(whole / name, folder)
    for name in ("official_build_config.json", "board/about.json"):
        shutil.copy(whole / name, folder / name)
    check_refusal(cli("verify", folder), 2, "is half changed", "--cost-only` ends that")
    assert cli("estimate", folder, "--cost-only").status == 0
    assert tree(folder) == tree(whole)

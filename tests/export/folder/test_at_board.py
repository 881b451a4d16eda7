"""What a FINN folder says for the board, and that its proof covers it: data facts, expectations, ``board/``, parts."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from qtrain.errors import UserError
from qtrain.experiments.export import export_run, verify_run
from qtrain.experiments.run import train_recipe
from qtrain.export import ProofError, export_finn, get_board, verify
from qtrain.export.folder.at_board import ABOUT, CLASSES, COMMANDS, EXPECTED, IMAGES, LABELS, SCRIPT
from qtrain.export.folder.folding import save_folding
from qtrain.recipe import Recipe
from qtrain.records.data import DataFacts
from tests.checks import check_refusal, forge
from tests.export.folder.tampering import as_before, follow, manifest_of, state, write_manifest
from tests.exported_folders import moved_tfc
from tests.sampled import sampled

IMAGES_PROVEN = 20
FACTS = DataFacts(
    "./signs",
    tuple(f"sign {number}" for number in range(10)),
    (3, 28, 28),
    layout="NHWC",
    value_range=(-1.0, 1.0),
    mean=(0.5, 0.25, 0.125),
    deviation=(0.1, 0.2, 0.3),
    digest="0" * 64,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the smallest folder, of data that are known, for a part without a board."""
    out = tmp_path_factory.mktemp("exported") / "finn"
    model, pixels, labels = moved_tfc(IMAGES_PROVEN)
    export_finn(model, out, pixels=pixels, labels=labels, board="xc7z010clg400-1", data=FACTS)
    return out


@pytest.fixture
def finn(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy to change; it is ./finn."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(exported, tmp_path / "finn"))


def refused(folder: Path, *says: str) -> None:
    with pytest.raises(ProofError) as raised:
        verify(folder)
    for words in says:
        assert words in str(raised.value)
    assert "\n" not in str(raised.value)


# --- What it says -----------------------------------------------------------------------------------------------------


def test_the_manifest_says_what_the_board_is_fed_and_what_to_expect(finn: Path) -> None:
    manifest = manifest_of(finn)
    accuracy = manifest["proof"]["accuracy_graph"]
    assert manifest["input"]["class_names"] == list(FACTS.class_names)
    assert manifest["input"]["layout"] == "NHWC"
    assert manifest["at_board"] == {
        "input": {"type": "uint8", "layout": "NHWC", "shape": [28, 28, 3]},
        "values": {"0": -1.0, "255": 1.0, "formula": "-1 + byte * 2 / 255"},
        "output": "the class of each image, counted from 0",
        "expected": {
            "accuracy": accuracy,
            "images": IMAGES_PROVEN,
            "target_fps": 1000,
            "estimated_fps": None,
            "fclk_mhz": 100.0,
        },
    }
    assert any("finn-plus" in version for version in manifest["tried_with"])
    assert manifest["commands"]["official"] == "./run-docker.sh build_custom FOLDER"


def test_the_readme_says_it_too(finn: Path) -> None:
    readme = (finn / "README.md").read_text()
    for words in (
        "For xc7z010clg400-1 at 1,000 frames/s",
        "- Source: ./signs; NHWC where it comes from, [3, 28, 28] in `proof/`\n",
        "- Classes: 10, counted from 0: sign 0, sign 1, sign 2,",
        "- Values: a byte stands for -1 + byte * 2 / 255: 0 for -1, 255 for 1\n",
        "mean 0.5, 0.25, 0.125; standard deviation 0.1, 0.2, 0.3\n",
        "channels last, [N, 28, 28, 3]",
        "python3 board/check_on_board.py deploy",
        "- Frames/s: 1,000 are folded for. `qtrain estimate FOLDER --save-folding` records FINN's estimate here.",
        *COMMANDS.values(),
    ):
        assert words in readme


def test_board_holds_the_proof_as_a_board_takes_it(finn: Path) -> None:
    expected = np.load(finn / "proof" / "expected.npz")
    assert np.array_equal(np.load(finn / IMAGES), np.load(finn / "proof" / "images.npy").transpose(0, 2, 3, 1))
    assert np.array_equal(np.load(finn / LABELS), expected["labels"])
    assert np.array_equal(np.load(finn / EXPECTED), expected["logits"].argmax(1))
    assert json.loads((finn / CLASSES).read_text()) == list(FACTS.class_names)
    assert {IMAGES, LABELS, EXPECTED, CLASSES, ABOUT, SCRIPT} <= set(manifest_of(finn)["files"])


def test_many_classes_are_counted_and_no_names_are_said_to_be_none(finn: Path) -> None:
    manifest = manifest_of(finn)
    manifest["input"]["class_names"] = [f"kind\n{number}" for number in range(43)]
    follow(finn, manifest)
    readme = (finn / "README.md").read_text()
    assert "- Classes: 43, counted from 0: kind 0, kind 1, " in readme
    assert "kind 9 and 33 more (`board/classes.json`)" in readme
    manifest["input"]["class_names"] = []
    follow(finn, manifest)
    assert "- Classes: not named at the export; they are counted from 0" in (finn / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": (3, 32, 32)}, "data are of the shape [3, 32, 32], but the images are [3, 28, 28]"),
        ({"class_names": ("a", "b")}, "data have 2 class names, but the network has 10 logits"),
        ({"layout": "CHW"}, "layout of NCHW, NHWC, NCL, NF, but got 'CHW'"),
        ({"value_range": (1.0, -1.0)}, "a value range from a lower to a higher number"),
        ({"value_range": (0.0, float("inf"))}, "a value range from a lower to a higher number"),
        ({"mean": (0.5,)}, "mean must be a number for each of 3 channels"),
    ],
)
def test_facts_of_other_data_are_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    model, pixels, labels = moved_tfc(4)
    with pytest.raises(UserError) as raised:
        export_finn(model, tmp_path / "finn", pixels=pixels, labels=labels, data=replace(FACTS, **change))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


# --- Tampering with care ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sampled([IMAGES, LABELS, EXPECTED], [LABELS]))
def test_what_board_holds_must_be_the_proofs(finn: Path, name: str) -> None:
    values = np.load(finn / name)
    values[7] = 1 - values[7]
    np.save(finn / name, values)
    forge(finn)
    refused(finn, f"{name} is not what proof/ has, first at image 7")
    np.save(finn / name, values[:-1])
    forge(finn)
    refused(finn, name, "where by proof/")


@pytest.mark.parametrize(("name", "text"), [(CLASSES, '["a"]\n'), (ABOUT, "{}\n")])
def test_texts_of_board_must_follow_from_the_manifest(finn: Path, name: str, text: str) -> None:
    (finn / name).write_text(text)
    forge(finn)
    refused(finn, f"{name} is not what follows from manifest.json")


def test_the_script_that_a_board_runs_is_ours_or_trusted(finn: Path) -> None:
    script = finn / SCRIPT
    script.write_text(script.read_text() + "\nprint('all is well')\n")
    forge(finn)
    refused(finn, "check_on_board.py is not what this qtrain ships, and a board executes it")
    assert verify(finn, trust=True).equal == IMAGES_PROVEN


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"at_board": {}}, "says another at_board"),
        ({"commands": {**COMMANDS, "official": "rm -rf /"}}, "says another commands"),
        ({"tried_with": [5]}, "tried_with"),
        ({"board": "Pynq-Z1"}, "has board"),
        ({"board": "xc7z020clg400-1"}, "has fpga_part"),
    ],
)
def test_an_entry_that_does_not_follow_from_the_rest_is_named(finn: Path, facts: dict[str, Any], says: str) -> None:
    state(finn, **facts)
    manifest = manifest_of(finn) | facts
    write_manifest(finn, manifest)
    readme_says_so = "commands" in facts or "tried_with" in facts
    with pytest.raises(ProofError) as raised:
        verify(finn)
    assert says in str(raised.value) or (readme_says_so and "README.md says" in str(raised.value))


@pytest.mark.parametrize(
    ("entry", "value", "says"),
    [
        ("shape", [3, 32, 32], "says of its input what cannot be"),
        ("class_names", ["a"] * 11, "says of its input what cannot be"),
        ("value_range", [1, -1], "says of its input what cannot be"),
        ("more", 1, "says another input"),
    ],
)
def test_facts_that_cannot_be_are_named(finn: Path, entry: str, value: object, says: str) -> None:
    manifest = manifest_of(finn)
    manifest["input"][entry] = value
    follow(finn, manifest)
    write_manifest(finn, manifest)
    refused(finn, says)


def test_a_manifest_without_one_of_the_entries_is_none_of_ours(finn: Path) -> None:
    manifest = manifest_of(finn)
    del manifest["at_board"]
    write_manifest(finn, manifest)
    refused(finn, "has no at_board, which every export writes")


@pytest.mark.slow
def test_a_runs_folder_has_its_datas_facts_and_others_are_found_with_the_run(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    run = tmp_path / "run"
    finn = run / "finn"
    train_recipe(tiny(), run)
    export_run(run, finn, board="Pynq-Z1", target_fps=1000, clock_ns=10.0)
    manifest = manifest_of(finn)
    assert (manifest["input"]["name"], manifest["input"]["class_names"]) == ("digits", [str(n) for n in range(10)])
    verify_run(finn, run)
    manifest["input"]["class_names"].reverse()
    follow(finn, manifest)
    write_manifest(finn, manifest)
    assert verify(finn).images == 397
    with pytest.raises(ProofError, match="says another input than digits has: class_names"):
        verify_run(finn, run)


# --- Folders of the version before, parts, foldings -------------------------------------------------------------------


def test_a_folder_of_the_version_before_verifies_estimates_and_takes_a_folding(finn: Path, cli: Callable) -> None:
    as_before(finn)
    assert verify(finn).equal == IMAGES_PROVEN
    assert cli("estimate", "finn", "--cost-only").status == 0
    folding = {"Defaults": {}, "MVAU_hls_0": {"PE": 1, "SIMD": 1}}
    save_folding(finn, folding, get_board("Pynq-Z1"), 200, 5.0, made_by="finn-plus 1.6.1", estimated_fps=210.5)
    assert verify(finn).equal == IMAGES_PROVEN
    assert not (finn / "board").exists()
    assert "at_board" not in manifest_of(finn)


def test_a_saved_folding_brings_its_estimate_and_its_clock_to_the_board(finn: Path) -> None:
    folding = {"Defaults": {}, "MVAU_hls_0": {"PE": 1, "SIMD": 1}}
    save_folding(finn, folding, get_board("Pynq-Z1"), 200, 5.0, made_by="finn-plus 1.6.1", estimated_fps=210.5)
    assert verify(finn).equal == IMAGES_PROVEN
    about = json.loads((finn / ABOUT).read_text())
    assert (about["target_fps"], about["estimated_fps"], about["fclk_mhz"]) == (200, 210.5, 200.0)
    assert about["board"] == "Pynq-Z1"
    readme = (finn / "README.md").read_text()
    assert "FINN (finn-plus 1.6.1) estimates 210 with the saved" in readme
    assert "optimistic: real designs come out slower" in readme


def test_a_part_is_built_without_bitfile_and_driver(finn: Path) -> None:
    plus = yaml.safe_load((finn / "build_config.yaml").read_text())
    official = json.loads((finn / "official_build_config.json").read_text())
    for config in (plus, official):
        assert config["fpga_part"] == "xc7z010clg400-1"
        assert "board" not in config
        assert "shell_flow_type" not in config
        outputs = ["estimate_reports", "stitched_ip", "rtlsim_performance", "out_of_context_synth"]
        assert config["generate_outputs"] == outputs
    readme = (finn / "README.md").read_text()
    assert "is a part without a board, for which FINN has no shell" in readme
    assert "17,600 LUT, 120 BRAM_18K, 0 URAM, 80 DSP" in readme
    assert verify(finn).equal == IMAGES_PROVEN


def test_the_real_finn_estimates_for_a_part_and_the_folder_says_so(finn: Path, cli: Callable, finn_plus: str) -> None:
    done = cli("estimate", "finn", "--target-fps", "100", "--save-folding")
    assert (done.status, done.err) == (0, "")
    assert "Fits xc7z010clg400-1: " in done.out
    estimate = json.loads((finn / "estimate" / "estimate.json").read_text())
    assert (estimate["board"], estimate["part"]) == ("xc7z010clg400-1",) * 2
    assert json.loads((finn / ABOUT).read_text())["estimated_fps"] == estimate["fps"]
    assert verify(finn).equal == IMAGES_PROVEN


def test_a_board_with_another_part_is_one_line(finn: Path, cli: Callable) -> None:
    given = ("estimate", "finn", "--cost-only")
    refusal = cli(*given, "--board", "Pynq-Z1", "--part", "xc7z010clg400-1")
    check_refusal(refusal, 2, "FINN's shell for Pynq-Z1 is made for xc7z020clg400-1 whatever part is given")
    check_refusal(cli(*given, "--resources", "LUT=5"), 2, "--resources goes with --part")
    check_refusal(cli(*given, "--part", "xc7vx330tffg1157-1"), 2, "--resources LUT=")
    assert cli(*given, "--board", "Pynq-Z1", "--part", "xc7z020clg400-1").status == 0
    resources = "LUT=204000,BRAM_18K=1500,URAM=0,DSP=1120"
    assert cli(*given, "--part", "xc7vx330tffg1157-1", "--resources", resources).status == 0

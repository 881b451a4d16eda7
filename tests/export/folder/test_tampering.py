"""Tampering with care, every checksum recomputed: each known way is found, or is named in docs/security.md."""

import contextlib
import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.cli import main
from qtrain.data import load_data
from qtrain.errors import UserError
from qtrain.experiments.export import verify_run
from qtrain.experiments.run import train_recipe
from qtrain.export import ProofError, export_finn, pipeline, verify
from qtrain.export.compiler.start import find_compiler
from qtrain.export.folder.checks import STAGES
from qtrain.export.folder.contents import read_proof_data
from qtrain.export.proof.against_torch import run_graph
from qtrain.export.proof.beyond import read_facts, verify_beyond
from qtrain.export.proof.beyond_images import drawn_images
from qtrain.export.proof.digests import test_digest as digest_of
from qtrain.export.proof.known import TEST_SPLITS
from qtrain.export.proof.origin import check_origin
from qtrain.recipe import Recipe
from tests.checks import check_refusal, forge
from tests.export.folder.tampering import (
    LAST_STAGE,
    back_door,
    change_graph,
    cut_test_set,
    keep_weights_outside,
    manifest_of,
    relabel,
    state,
    write_manifest,
)
from tests.exported_folders import export_tfc, moved_tfc
from tests.keys import needs_ssh, ssh_key
from tests.sampled import sampled

IMAGES = 20


@pytest.fixture(scope="module")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the smallest FINN folder."""
    return export_tfc(tmp_path_factory.mktemp("smallest") / "finn", images=IMAGES)


@pytest.fixture
def finn(smallest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy to tamper with; it is ./finn."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(smallest, tmp_path / "finn"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]) -> Path:
    """Return a run with its FINN folder, proven on the whole test set of digits and signed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train_recipe(tiny(), out)
    key, public = ssh_key(out.with_name("alice"))
    out.with_name("signers").write_text(f"alice@lab {public}")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(out), "--board", "Pynq-Z1", "--sign", str(key)])
    assert not ended.value.code
    return out


def refused(folder: Path, *says: str, **options: Any) -> None:
    with pytest.raises(ProofError) as raised:
        verify(folder, **options)
    for words in says:
        assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_untouched_folder_verifies_and_says_what_that_proves(finn: Path, cli: Callable) -> None:
    outcome = cli("verify", "finn")
    assert (outcome.status, outcome.err) == (0, "")
    assert "finn: unsigned" in outcome.out
    assert "not whose they are: --run RUN does" in outcome.out
    manifest = manifest_of(finn)
    assert len(manifest["weights"]) == 64
    assert manifest["beyond"]["images"] > 200
    assert manifest["data"]["known_as"] is None


def test_a_folder_of_an_earlier_version_is_told_so(finn: Path, cli: Callable) -> None:
    state(finn, format=1)
    check_refusal(cli("verify", "finn"), 2, "written by an earlier version of qtrain", "export the run again")


# --- Files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["weights.bin", "qonnx.py", "__pycache__/custom_steps.cpython-313.pyc", "stages/x"])
@pytest.mark.parametrize("listed", [False, True])
def test_a_file_that_no_export_writes_is_refused(finn: Path, name: str, listed: bool) -> None:
    (finn / name).parent.mkdir(exist_ok=True)
    (finn / name).write_text("raise SystemExit")
    if listed:
        write_manifest(finn, manifest_of(finn), also=(name,))
    refused(finn, name[:60], "take it out of the folder")


def test_a_link_is_refused_and_what_a_build_wrote_is_not(finn: Path, tmp_path: Path) -> None:
    (finn / "output" / "driver").mkdir(parents=True)
    (finn / "output" / "driver" / "driver.py").write_text("")
    assert verify(finn).equal == IMAGES
    (finn / "proofs").symlink_to(tmp_path)
    refused(finn, "not named by the manifest: proofs")


def test_no_entry_of_the_files_may_be_left_out(smallest: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(smallest, tmp_path / "finn"))
    manifest = manifest_of(folder)
    for name in manifest["files"]:
        less = {**manifest, "files": {n: c for n, c in manifest["files"].items() if n != name}}
        (folder / "manifest.json").write_text(json.dumps(less))
        refused(folder, name, "which every export writes")
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": {}}))
    refused(folder, "which every export writes")


@pytest.mark.slow
def test_no_file_may_be_emptied(smallest: Path, tmp_path: Path) -> None:
    names = manifest_of(smallest)["files"]
    for number, name in enumerate(names):
        folder = Path(shutil.copytree(smallest, tmp_path / str(number)))
        (folder / name).write_bytes(b"")
        forge(folder)
        with pytest.raises((ProofError, UserError)):
            verify(folder)


def test_weights_outside_the_graphs_file_are_refused(finn: Path) -> None:
    keep_weights_outside(finn)
    forge(finn)
    refused(finn, "not named by the manifest: weights.bin")
    write_manifest(finn, manifest_of(finn), also=("weights.bin",))
    refused(finn, "weights.bin", "which no export writes")
    (finn / "output").mkdir()
    shutil.move(finn / "weights.bin", finn / "output" / "weights.bin")
    model = (finn / "model.onnx").read_bytes().replace(b"weights.bin", b"output/w.bi")
    (finn / "model.onnx").write_bytes(model)
    write_manifest(finn, manifest_of(finn))
    refused(finn, "keeps its weights in 'output/w.bi'")


# --- Figures ----------------------------------------------------------------------------------------------------------


FIGURES: list[tuple[dict[str, Any], str]] = [
    ({"board": "ZCU104"}, "board"),
    ({"target_fps": 5}, "target_fps"),
    ({"clock_ns": 5.0}, "synth_clk_period_ns"),
    ({"proof_images": 397}, "says images 397, but it is 20"),
    ({"proof_equal": 19}, "says equal 19, but it is 20"),
    ({"proof_ties": 7}, "says ties 7"),
    ({"proof_accuracy_torch": 99.5}, "says accuracy_torch 99.5"),
    ({"proof_accuracy_graph": 99.5}, "says accuracy_graph 99.5"),
    ({"proof_largest_logit_difference": 0.5}, "largest_logit_difference"),
    ({"proof_qonnx_images": 21}, "no such proof"),
    ({"proof_qonnx_equal": 0}, "no such proof"),
    ({"proof_float32_torch_differs": -1}, "float32 differs"),
    ({"proof_caveats": ["all is well"]}, "says caveats"),
    ({"proof_more": 1}, "other figures"),
    ({"stages": []}, "does not have the stages"),
    ({"layers": []}, "tensors"),
    ({"weights": "0" * 64}, "another seed"),
    ({"data": {"test_split": "0" * 64, "known_as": "cifar10"}}, "another test split"),
]


@pytest.mark.parametrize(("facts", "says"), sampled(FIGURES, FIGURES[::3], id=lambda case: next(iter(case[0]))))
def test_a_figure_that_is_not_what_comes_out_is_named(finn: Path, facts: dict, says: str) -> None:
    state(finn, **facts)
    refused(finn, says)


@pytest.mark.parametrize(
    ("entry", "value"), [("nodes", 3), ("images", 99), ("tensors", 50), ("stage", "x"), ("more", 1)]
)
def test_a_stages_figure_that_is_not_what_comes_out_is_named(finn: Path, entry: str, value: object) -> None:
    manifest = manifest_of(finn)
    manifest["stages"][1][entry] = value
    write_manifest(finn, manifest)
    refused(finn, "manifest.json says of stage 'clean'", str(value), entry)


def test_a_stage_that_is_another_graph_is_found(finn: Path) -> None:
    shutil.copy(finn / "stages" / "2_pixels.onnx", finn / "stages" / "1_clean.onnx")
    forge(finn)
    refused(finn, "stage 'clean'")


def test_the_model_must_be_the_last_stage(finn: Path) -> None:
    graph = ModelWrapper(str(finn / "model.onnx"))
    graph.graph.node[3].name = "another"
    graph.save(str(finn / "model.onnx"))
    forge(finn)
    refused(finn, "not the graph of the last stage")


def test_a_test_set_that_was_cut_and_an_empty_golden_pair_are_found(finn: Path) -> None:
    cut_test_set(finn, 3)
    refused(finn, "says images 20, but it is 3")


def test_an_empty_golden_pair_is_no_golden_pair(finn: Path) -> None:
    for name in ("input", "expected_output"):
        np.save(finn / f"{name}.npy", np.load(finn / f"{name}.npy")[:0])
    forge(finn)
    refused(finn, "the golden pair")


# --- Annotations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensor", "kind", "says"),
    [
        ("global_in", "INT4", "input 'global_in' is annotated INT4"),
        ("global_in", "FLOAT32", "input 'global_in' is annotated FLOAT32"),
        ("global_out", "BIPOLAR", "output 'global_out' is annotated BIPOLAR"),
        ("fc2_out", "INT2", "'fc2_out' is annotated INT2, but its values go from"),
        ("fc2_out", "INT16", "'fc2_out' is annotated INT16, and by the graph it is"),
        ("fc2_weight_quant_out", "BINARY", "'fc2_weight_quant_out' is annotated BINARY"),
        ("norm2_param3", "INT2", "'norm2_param3' is annotated INT2"),
    ],
)
def test_an_annotation_that_the_values_do_not_fit_is_named(finn: Path, tensor: str, kind: str, says: str) -> None:
    def annotate(graph: ModelWrapper) -> None:
        assert tensor in graph.get_all_tensor_names()
        graph.set_tensor_datatype(tensor, DataType[kind])

    change_graph(finn, annotate)
    refused(finn, says)


# --- The build --------------------------------------------------------------------------------------------------------


def test_words_beside_the_manifest_that_do_not_follow_from_it_are_named(finn: Path) -> None:
    readme = finn / "README.md"
    readme.write_text(readme.read_text().replace("Pynq-Z1", "ZCU104"))
    forge(finn)
    refused(finn, "README.md says 'For ZCU104", "by manifest.json it is 'For Pynq-Z1")


def test_a_build_for_another_board_is_found(finn: Path) -> None:
    for path in (*finn.glob("*.json"), *finn.glob("*.yaml")):
        if path.name != "manifest.json":
            path.write_text(path.read_text().replace("Pynq-Z1", "ZCU104"))
    forge(finn)
    refused(finn, "has board 'ZCU104', but by manifest.json it is 'Pynq-Z1'")
    refused(finn, "has board 'ZCU104'", trust=True)


def test_a_build_with_other_steps_or_an_unlisted_folding_needs_trust(finn: Path) -> None:
    config = finn / "build_config.yaml"
    whole = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**whole, "steps": whole["steps"][1:]}))
    forge(finn)
    refused(finn, "has another steps than qtrain writes", "--trust")
    assert verify(finn, trust=True).equal == IMAGES
    config.write_text(yaml.safe_dump({**whole, "folding_config_file": "output/mine.json"}))
    forge(finn)
    refused(finn, "builds with the folding 'output/mine.json'", trust=True)


@pytest.mark.parametrize("name", ["custom_steps.py", "custom_transforms.py", "build.py"])
def test_python_that_qtrain_does_not_ship_needs_trust(finn: Path, cli: Callable, name: str) -> None:
    (finn / name).write_text((finn / name).read_text() + "\nraise SystemExit('executed')\n")
    check_refusal(cli("verify", "finn"), 3, f"changed: {name}")
    forge(finn)
    check_refusal(cli("verify", "finn"), 3, name, "is not what this qtrain ships", "--trust")
    executing = (["estimate", "finn"], ["verify", "finn", "--finn"]) if find_compiler() else ()
    for words in executing:
        outcome = cli(*words)
        check_refusal(outcome, 3, name, "--trust")
        assert "executing" not in outcome.out
    assert cli("verify", "finn", "--trust").status == 0


def test_only_what_steps_come_from_is_importable_in_the_compilers_process(tmp_path: Path) -> None:
    import sys

    from qtrain.export.compiler import _worker as _finn_worker

    (tmp_path / "custom_transforms.py").write_text("VALUE = 1\n")
    (tmp_path / "custom_steps.py").write_text("import custom_transforms as own\nVALUE = own.VALUE + 1\n")
    (tmp_path / "pyverilator_missing.py").write_text("raise SystemExit('executed')\n")
    before, path = set(sys.modules), list(sys.path)
    try:
        _finn_worker.load_modules(tmp_path, None)
        assert sys.modules["custom_steps"].VALUE == 2
        assert sys.path == path
        with pytest.raises(ModuleNotFoundError):
            __import__("pyverilator_missing")
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "custom_steps.py",
        "custom_transforms.py",
        "pyverilator_missing.py",
    ]


# --- The graph, beyond the test set -----------------------------------------------------------------------------------


def hidden_changes(folder: Path, enough: int = 6) -> list[tuple[str, np.ndarray]]:
    """Constants of norms, one channel changed each, that no test image shows, not in the logits either."""
    graph = ModelWrapper(str(folder / "model.onnx"))
    pixels, _, logits = read_proof_data(folder)
    found: list[tuple[str, np.ndarray]] = []
    for node in [node for node in graph.graph.node if node.op_type == "BatchNormalization"]:
        name, old = node.input[2], graph.get_initializer(node.input[2])
        for channel in range(8):
            new = old.copy()
            new[channel] += 0.3
            graph.set_initializer(name, new)
            if len(found) < enough and torch.allclose(run_graph(graph, pixels)[1], logits, rtol=0, atol=1e-6):
                found.append((name, new))
        graph.set_initializer(name, old)
    return found


def test_norm_constants_that_no_test_image_shows_are_found_beyond_it(smallest: Path) -> None:
    changes = hidden_changes(smallest)
    assert len(changes) > 3
    manifest = manifest_of(smallest)
    graph, beyond = ModelWrapper(str(smallest / "model.onnx")), read_facts(manifest)
    pixels, found = read_proof_data(smallest)[0], []
    for name, value in changes:
        old = graph.get_initializer(name)
        graph.set_initializer(name, value)
        with contextlib.suppress(ProofError):
            verify_beyond(graph, smallest, beyond, pixels, manifest["layers"])
            found.append(name)
        graph.set_initializer(name, old)
    assert len(found) <= len(changes) / 2, f"{len(found)} of {len(changes)} are not found"


def test_a_back_door_is_found_though_no_test_image_opens_it(finn: Path) -> None:
    pixels, _, logits = read_proof_data(finn)
    change_graph(finn, back_door)
    found = run_graph(ModelWrapper(str(finn / "model.onnx")), pixels)[1]
    torch.testing.assert_close(found, logits)
    refused(finn, "images beyond the test set, top-1 differs")


@pytest.mark.parametrize(
    ("entry", "value", "says"),
    [
        ("quantizers", {}, "other quantizers than the graph has"),
        ("left_out", list(range(227)), "227 images beyond the test set are left out"),
        ("images", 3, "other arrays than 3 images need"),
        ("digest", "0" * 64, "not those that the manifest names"),
        ("pairs", [], "other arrays"),
        ("seed", "mine", "another seed"),
    ],
)
def test_the_record_of_the_images_beyond_cannot_be_thinned(finn: Path, entry: str, value: Any, says: str) -> None:
    manifest = manifest_of(finn)
    manifest["beyond"][entry] = value
    if entry in ("quantizers", "left_out"):  # with the arrays that fit
        data = dict(np.load(finn / "proof" / "beyond.npz"))
        data |= {"levels": data["levels"][:0]} if entry == "quantizers" else {"logits": data["logits"][:0]}
        np.savez(finn / "proof" / "beyond.npz", **data)
    write_manifest(finn, manifest)
    with pytest.raises((ProofError, UserError), match=says):
        verify(finn)


def test_the_images_beyond_are_drawn_anew_and_lie_beside_boundaries(finn: Path) -> None:
    data = dict(np.load(finn / "proof" / "beyond.npz"))
    np.savez(finn / "proof" / "beyond.npz", **{**data, "pairs": data["pairs"][::-1]})
    forge(finn)
    refused(finn, "not those that the manifest names")
    seed, pixels = manifest_of(finn)["beyond"]["seed"], read_proof_data(finn)[0]
    drawn = drawn_images(seed, pixels)
    assert torch.equal(drawn, drawn_images(seed, pixels))
    assert not torch.equal(drawn, drawn_images(seed + "x", pixels))
    assert ((drawn == 0) | (drawn == 255)).all(dim=(1, 2, 3)).sum() > 70
    assert (drawn[:, 0, 0, 0] == 255).sum() > 30
    assert not any(torch.equal(image, other) for image in drawn for other in pixels)


# --- Whose answers ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_ssh
def test_a_folder_is_proven_to_be_of_its_run_and_its_signer(run: Path, cli: Callable) -> None:
    outcome = cli("verify", run / "finn", "--run", run, "--signers", run.with_name("signers"))
    assert (outcome.status, outcome.err) == (0, "")
    assert "is an export of" in outcome.out
    assert "finn: signed by alice@lab with ED25519" in outcome.out
    assert "the test images and labels are those of digits, 397 of them" in outcome.out


@pytest.mark.slow
@needs_ssh
def test_labels_that_are_set_to_the_answers_are_not_those_of_the_data_set(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run / "finn", tmp_path / "finn"))
    relabel(folder)
    refused(folder, "by its recipe the network is tested on digits")


@pytest.mark.slow
def test_another_network_whose_proof_is_made_anew_is_not_this_one(
    smallest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pixels, labels = moved_tfc(IMAGES)
    other, weights = copy.deepcopy(model), manifest_of(smallest)["weights"]
    with torch.no_grad():
        norm = [module for module in other.modules() if isinstance(module, nn.BatchNorm1d)][1]
        norm.weight[:8].neg_()
    monkeypatch.setattr(pipeline, "weights_digest", lambda _: weights)  # the tamperer's exporter lies
    export_finn(other, tmp_path / "finn", pixels=pixels, labels=labels, board="Pynq-Z1")
    assert verify(tmp_path / "finn").equal == IMAGES
    with pytest.raises(ProofError, match="records of torch is not this network's"):
        verify(tmp_path / "finn", model=model)
    monkeypatch.undo()
    with pytest.raises(ProofError, match="was exported from other weights"):
        check_origin(tmp_path / "finn", manifest_of(tmp_path / "finn"), other, print)


@needs_ssh
def test_a_recipe_that_is_not_the_runs_is_named(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run / "finn", tmp_path / "finn"))
    manifest = manifest_of(folder)
    manifest["source"]["recipe"]["lr"] = 0.5
    write_manifest(folder, manifest)
    with pytest.raises(ProofError, match=r"says another recipe than .* has: lr 0\.5, not 0\.02"):
        verify_run(folder, run)


def test_known_test_splits_are_those_of_the_data_sets() -> None:
    test = load_data("digits").test
    assert TEST_SPLITS[digest_of(test.images, test.labels)] == "digits"
    test.labels[3] += 1
    assert digest_of(test.images, test.labels) not in TEST_SPLITS


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_known_test_splits_are_those_of_cifar(cifar_root: Path, name: str) -> None:
    test = load_data(name, root=cifar_root).test
    assert TEST_SPLITS[digest_of(test.images, test.labels)] == name


def test_the_last_stage_is_where_the_tests_look() -> None:
    assert STAGES[-1] == LAST_STAGE

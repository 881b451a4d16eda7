"""``qtrain verify``: a whole FINN folder passes from anywhere, a changed or tampered one fails the proof."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.checks import check_refusal, forge, tree


def test_a_whole_folder_verifies_from_anywhere(finn: Path, cli: Callable) -> None:
    finn.rename("elsewhere")
    before = tree(Path.cwd())
    outcome = cli("verify", "elsewhere")
    assert (outcome.status, outcome.err) == (0, "")
    assert "20 of 20" in outcome.out
    assert tree(Path.cwd()) == before


@pytest.mark.parametrize("name", ["model.onnx", "expected_output.npy", "proof/expected.npz", "proof/images.npy"])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_changed_or_missing_file_fails_the_proof(finn: Path, cli: Callable, name: str, how: str) -> None:
    content = bytearray((finn / name).read_bytes())
    content[len(content) // 2] ^= 1
    (finn / name).write_bytes(content) if how == "changed" else (finn / name).unlink()
    check_refusal(cli("verify", "finn"), 3, "proof failed: finn is not what was exported", f"{how}: {name}")


def test_a_graph_tampered_with_care_fails_the_proof(finn: Path, cli: Callable) -> None:
    from qonnx.core.modelwrapper import ModelWrapper

    graph = ModelWrapper(str(finn / "model.onnx"))
    name = next(
        n.input[1] for n in graph.graph.node if n.op_type == "Mul" and graph.get_initializer(n.input[1]) is not None
    )
    graph.set_initializer(name, -graph.get_initializer(name))
    graph.save(str(finn / "model.onnx"))
    forge(finn)
    check_refusal(cli("verify", "finn"), 3, "proof failed: ")


def test_expected_answers_tampered_with_care_fail_the_proof(finn: Path, cli: Callable) -> None:
    expected = dict(np.load(finn / "proof" / "expected.npz"))
    expected["logits"] = np.roll(expected["logits"], 1, axis=1)
    np.savez(finn / "proof" / "expected.npz", **expected)
    forge(finn)
    check_refusal(cli("verify", "finn"), 3, "proof failed: top-1 differs on", "of 20 images", "the first is image")


def test_a_golden_pair_tampered_with_care_fails_the_proof(finn: Path, cli: Callable) -> None:
    golden = np.load(finn / "expected_output.npy")
    np.save(finn / "expected_output.npy", (golden + 1) % 10)
    forge(finn)
    check_refusal(cli("verify", "finn"), 3, "proof failed: the golden pair")


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (b'{"format": 2, "files": {"mod', "manifest.json is damaged"),
        (b"", "manifest.json is damaged"),
        (b"\xff\xfe", "manifest.json is damaged"),
        (b'{"format": 2}', "manifest.json is damaged"),
        (b'{"format": 1}', "was written by an earlier version of qtrain (format 1, now 2)"),
        (b'{"format": 99}', "has format 99, this qtrain reads 2"),
        (b"[]", "manifest.json is damaged (a JSON object is expected, not [])"),
    ],
)
def test_a_damaged_manifest_is_wrong_input(finn: Path, cli: Callable, manifest: bytes, says: str) -> None:
    (finn / "manifest.json").write_bytes(manifest)
    check_refusal(cli("verify", "finn"), 2, says, "export the run again")


def test_what_a_build_adds_does_not_disturb_the_proof(finn: Path, cli: Callable) -> None:
    (finn / "output").mkdir()
    (finn / "output" / "report.json").write_text("{}")
    assert cli("verify", "finn").status == 0


@pytest.mark.parametrize("command", [("verify", "finn"), ("verify", "finn", "--finn")])
def test_a_device_that_is_not_here_is_refused_before_the_proof(finn: Path, cli: Callable, command: tuple) -> None:
    check_refusal(
        cli(*command, "--device", "cuda:7"), 2, "device 'cuda:7' is not available here; use auto, cpu or cuda:N"
    )


def test_a_device_is_handed_through(finn: Path, cli: Callable) -> None:
    outcome = cli("verify", "finn", "--device", "cpu")
    assert (outcome.status, outcome.err) == (0, "")

"""The second opinion: finn-base, where it is there, agrees with a proven folder and not with a tampered one."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.basic import qonnx_make_model

from qtrain.errors import UserError
from qtrain.export import ProofError
from qtrain.export.proof import finn_base as module
from qtrain.export.proof.dialect import to_finn_base
from qtrain.export.proof.finn_base import add_dialect, check, execute, judge, second_opinion
from tests.checks import check_refusal, forge, tree


@pytest.mark.slow
def test_finn_base_agrees_on_the_command_line(finn_base: str, finn: Path, cli: Callable) -> None:
    before = tree(Path.cwd())
    outcome = cli("verify", "finn", "--finn-base", "--images", "5")
    assert (outcome.status, outcome.err) == (0, "")
    assert "20 of 20" in outcome.out
    assert "finn-base 0.0.3: the same class on 5 of 5 images, the same logits on 5, " in outcome.out
    assert tree(Path.cwd()) == before


def test_a_wrong_graph_is_told_apart_from_rounding(finn_base: str, finn: Path) -> None:
    graph = ModelWrapper(str(finn / "model.onnx"))
    names = [n.input[1] for n in graph.graph.node if n.op_type == "BatchNormalization"]
    graph.set_initializer(names[2], -graph.get_initializer(names[2]))
    graph.save(str(finn / "model.onnx"))
    forge(finn)
    found = second_opinion(finn, images=12, python=finn_base)
    assert found.equal_logits == 0
    with pytest.raises(ProofError, match=r"the same class on .* of 12 images only; .* but these differ: "):
        check(found)


def test_seconds_end_it_after_an_image(finn_base: str, finn: Path) -> None:
    pixels = torch.from_numpy(np.load(finn / "proof" / "images.npy"))
    answer = execute(ModelWrapper(str(finn / "model.onnx")), pixels, finn_base, seconds=1e-6)
    assert len(answer.classes) == len(answer.logits) == 1


def test_the_dialect_file_is_the_graph_that_finn_base_executes_and_is_recorded(finn: Path, cli: Callable) -> None:
    path = add_dialect(finn)
    assert onnx.load(path) == to_finn_base(ModelWrapper(str(finn / "model.onnx"))).model
    assert cli("verify", "finn").status == 0
    path.write_bytes(path.read_bytes()[:-1])
    check_refusal(cli("verify", "finn"), 3, f"changed: {module.DIALECT_MODEL}")


@pytest.mark.parametrize(("layout", "shape"), [({}, (1, 4, 2, 2)), ({"data_layout": "NHWC"}, (1, 2, 2, 4))])
def test_thresholds_mean_the_same_in_both(finn_base: str, layout: dict, shape: tuple) -> None:
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("MultiThreshold", ["x", "t"], ["m"], "mt", domain="qonnx.custom_op.general", **layout),
        helper.make_node("Flatten", ["m"], ["f"], "flat"),
        helper.make_node("TopK", ["f", "k"], ["v", "y"], "top1"),
    ]
    nodes[0].attribute.append(helper.make_attribute("out_dtype", "UINT8"))
    ends = [info("x", TensorProto.FLOAT, shape)], [info("y", TensorProto.INT64, [1, 1])]
    inner = [info("m", TensorProto.FLOAT, shape), info("f", TensorProto.FLOAT, [1, 16])]
    inner.append(info("v", TensorProto.FLOAT, [1, 1]))
    model = ModelWrapper(qonnx_make_model(helper.make_graph(nodes, "g", *ends, value_info=inner)))
    model.set_initializer("t", np.cumsum(np.full((4, 6), [[20], [25], [30], [35]]), axis=1).astype(np.float32))
    model.set_initializer("k", np.array([1], dtype=np.int64))
    pixels = torch.randint(0, 256, (2, *shape[1:]), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    answer = execute(model, pixels, finn_base)
    for image, got in zip(pixels, answer.logits, strict=True):
        context = execute_onnx(model, {"x": image[None].float().numpy()}, return_full_exec_context=True)
        np.testing.assert_array_equal(context["f"].ravel(), got.numpy())


def test_export_adds_the_dialect_to_a_folder(tmp_path: Path, proven: Path, cli: Callable) -> None:
    outcome = cli("export", proven.parent / "run", "--dialect", "finn-base", "--out", tmp_path / "finn")
    assert outcome.status == 0, outcome
    assert f"{tmp_path / 'finn' / 'model_finn_base.onnx'}: the graph for finn-base" in outcome.out
    for name, domain in (("model.onnx", "qonnx"), ("model_finn_base.onnx", "finn")):
        graph = onnx.load(tmp_path / "finn" / name).graph  # qonnx's own wrapper would rename it
        assert {node.domain for node in graph.node} == {"", f"{domain}.custom_op.general"}
    assert "model_finn_base.onnx" in json.loads((tmp_path / "finn" / "manifest.json").read_text())["files"]


EXPECTED = torch.tensor([[2.0, 1.0, 0.0], [1.0, 1.0 + 1e-7, 0.0], [0.0, 1.0, 0.5]], dtype=torch.float64)


def test_a_class_between_logits_that_tie_in_float32_is_no_flip() -> None:
    found = judge(torch.tensor([0, 0, 1]), EXPECTED, EXPECTED)
    assert (found.equal, found.ties, found.flipped, found.equal_logits) == (2, (1,), (), 3)
    check(found)


def test_a_wrong_class_of_right_logits_is_a_flip() -> None:
    found = judge(torch.tensor([2, 1, 2]), EXPECTED, EXPECTED)
    assert (found.ties, found.flipped) == ((), (0, 2))
    with pytest.raises(ProofError, match=r"the same class on 1 of 3 images only; .* explains 1, but .*: 0, 2$"):
        check(found)


@pytest.mark.parametrize(("images", "allowed"), [(1, 1), (99, 1), (100, 2), (500, 10)])
def test_one_image_in_50_may_flip(images: int, allowed: int) -> None:
    expected = EXPECTED[:1].repeat(images, 1)
    classes, logits = torch.zeros(images, dtype=torch.int64), expected.clone()
    classes[:allowed], logits[:allowed] = 1, torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    check(judge(classes, logits, expected))
    if allowed < images:
        classes[allowed], logits[allowed] = 1, logits[0]
        with pytest.raises(ProofError, match=f"on {images - allowed - 1} of {images} images"):
            check(judge(classes, logits, expected))


def test_without_finn_base_one_line_names_the_command(
    finn: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QTRAIN_FINN_BASE_PYTHON", raising=False)
    monkeypatch.setattr(module, "ENVIRONMENT", Path("no-such-venv/bin/python"))
    check_refusal(cli("verify", "finn", "--finn-base"), 2, "no finn-base", "make finn-base")


@pytest.mark.parametrize(
    ("python", "status", "says"),
    [
        ("no-such-python", 2, "QTRAIN_FINN_BASE_PYTHON is no-such-python, which is no program"),
        (sys.executable, 2, "finn-base is not installed; make it with `make finn-base`"),
        ("false", 3, "finn-base's process (false) ended with status 1"),
    ],
)
def test_a_wrong_interpreter_is_one_line(
    finn: Path, cli: Callable, monkeypatch: pytest.MonkeyPatch, python: str, status: int, says: str
) -> None:
    monkeypatch.setenv("QTRAIN_FINN_BASE_PYTHON", python)
    check_refusal(cli("verify", "finn", "--finn-base", "--images", "2"), status, says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--images", "0"], "images must be 1 to 20, the folder's test set, or all, but got 0"),
        (["--images", "21"], "images must be 1 to 20"),
        (["--images", "some"], "images must be a whole number, 1 or more, or all, but got 'some'"),
        (["--finn"], "--finn-base goes with neither --finn nor --json"),
    ],
)
def test_wrong_options_are_one_line(finn_base: str, finn: Path, cli: Callable, words: list[str], says: str) -> None:
    check_refusal(cli("verify", "finn", "--finn-base", *words), 2, says)


def test_an_unknown_dialect_is_one_line(finn: Path, cli: Callable) -> None:
    outcome = cli("export", finn, "--dialect", "onnx")
    check_refusal(outcome, 2, "dialect must be one of qonnx, finn-base, but got 'onnx'")


def test_a_graph_it_does_not_take_leaves_the_folder_whole(finn: Path, cli: Callable) -> None:
    graph = ModelWrapper(str(finn / "model.onnx"))
    node = next(n for n in graph.graph.node if n.op_type == "Quant")
    next(a for a in node.attribute if a.name == "rounding_mode").s = b"HALF_UP"
    graph.save(str(finn / "model.onnx"))
    before = tree(finn)
    with pytest.raises(UserError, match=r"it has no rounding HALF_UP.* whole, but without model_finn_base.onnx"):
        add_dialect(finn)
    assert tree(finn) == before

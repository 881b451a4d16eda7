"""A graph of any origin executes nothing: qonnx evaluates two annotations as Python and imports domains as modules."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.checks import check_refusal

TRAP = "__import__('pathlib').Path('sprung').write_text('code of a graph')"


def write_graph(path: Path, annotation: tuple[str, str] | None = None, domain: str = "") -> None:
    """Write a graph of one operator, with an annotation of its input, or an operator of a domain."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    weights = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")
    node.domain = domain
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weights])
    if annotation:
        found = onnx.TensorAnnotation(tensor_name="x")
        found.quant_parameter_tensor_names.append(onnx.StringStringEntryProto(key=annotation[0], value=annotation[1]))
        graph.quantization_annotation.append(found)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), str(path))


@pytest.mark.parametrize(
    "words",
    [("lint", "m.onnx"), ("estimate", "m.onnx", "--cost-only"), ("estimate", "m.onnx"), ("verify", "m.onnx", "--finn")],
    ids=" ".join,
)
@pytest.mark.parametrize("key", ["tensor_layout", "tensor_sparsity"])
def test_an_annotation_is_not_evaluated(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_graph(tmp_path / "m.onnx", (key, TRAP))
    check_refusal(cli(*words), 2, f"m.onnx: {key} of tensor 'x' is", "is not evaluated")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("words", [("lint", "m.onnx"), ("estimate", "m.onnx", "--cost-only")], ids=" ".join)
def test_a_domain_is_not_imported(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text(TRAP)
    write_graph(tmp_path / "m.onnx", domain="evil")
    check_refusal(cli(*words), 2, "node 'fc' (MatMul) is of the domain 'evil'")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("value", ["['N', 'C']", "{'a': 1.0}"])
def test_plain_values_are_taken(cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_graph(tmp_path / "m.onnx", ("tensor_sparsity" if "{" in value else "tensor_layout", value))
    assert cli("estimate", "m.onnx", "--cost-only").status == 0


@pytest.mark.parametrize("value", ["[" * 5000, "1", "[x]", "['N'] if True else 0", "[" + "1," * 10_000 + "]"])
def test_what_is_no_plain_value_is_refused(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_graph(tmp_path / "m.onnx", ("tensor_layout", value))
    check_refusal(cli("lint", "m.onnx"), 2, "no plain list or mapping")

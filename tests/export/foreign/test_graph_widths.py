"""Graphs whose integers are wider than any machine's: qonnx would compute two to the power of them, for ever."""

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from tests.checks import check_refusal, forge
from tests.exported_folders import export_tfc


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tfc(tmp_path_factory.mktemp("whole") / "finn", images=8)


def wide_quantizer(model: ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Quant":
            (width,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[3])
            width.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(width) * 0 + 1e12, width.name))


def wide_annotation(model: ModelProto) -> None:
    model.graph.quantization_annotation[0].quant_parameter_tensor_names[0].value = "INT999999999999"


def wide_mantissa(model: ModelProto) -> None:
    model.graph.quantization_annotation[0].quant_parameter_tensor_names[0].value = "FLOAT<8,99999999999,127>"


def wide_attribute(model: ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("out_dtype", "UINT65"))


@pytest.mark.parametrize("damage", [wide_quantizer, wide_annotation, wide_mantissa, wide_attribute])
@pytest.mark.parametrize("command", ["verify", "lint"])
def test_integers_that_nothing_holds_are_refused_at_once(
    whole: Path, tmp_path: Path, cli: Callable, damage: Callable[[ModelProto], None], command: str
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "finn"))
    model = onnx.load(folder / "model.onnx")
    damage(model)
    onnx.save(model, folder / "model.onnx")
    forge(folder)
    at = folder if command == "verify" else folder / "model.onnx"
    check_refusal(cli(command, at), 2, "64 ", " allowed")

"""The exporter's passes, in order: each one small, ``ModelWrapper -> ModelWrapper``, checked by the runner after it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx.helper as oh
from onnx import NodeProto, TensorProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.fold_constants import FoldConstants
from qonnx.transformation.infer_data_layouts import InferDataLayouts
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.transformation.insert_topk import InsertTopK
from qonnx.transformation.quant_constant_folding import FoldTransposeIntoQuantInit
from qonnx.util.basic import get_by_name

from qtrain.export import naming

QUANTIZERS = ("Quant", "BipolarQuant", "Trunc")


@dataclass(frozen=True)
class Pass:
    """One step of the export.

    Attributes:
        name: of the stage, also of its saved file.
        apply: the transformation.
        pixels: whether the graph afterwards takes 0..255 pixels (else images in [0, 1]).
    """

    name: str
    apply: Callable[[ModelWrapper], ModelWrapper]
    pixels: bool


def fold(model: ModelWrapper) -> ModelWrapper:
    """Fold constants but not the quantizers, drop what nothing reads, infer shapes: qonnx's clean-up, names kept."""
    for node in model.graph.node:
        if node.op_type in QUANTIZERS:
            node.domain = "qonnx.custom_op.general"
    # behind each step qonnx drops unused tensors and static inputs, sorts the graph and makes parameters unique
    for step in (
        InferShapes(),
        FoldConstants(exclude_op_types=["Quant", "BipolarQuant"]),
        FoldTransposeIntoQuantInit(),
    ):
        model = model.transform(step)
    return model


def clean(model: ModelWrapper) -> ModelWrapper:
    """Fold, and take out what torch's exporter writes for ``x.float()`` and ``x.to(device)`` where x is a float."""
    model = fold(model)
    for node in [node for node in model.graph.node if node.op_type == "Cast" and _keeps_type(model, node)]:
        _take_out(model, node)
    return model


def _keeps_type(model: ModelWrapper, node: NodeProto) -> bool:
    described = model.get_tensor_valueinfo(node.input[0])
    return described is not None and described.type.tensor_type.elem_type == get_by_name(node.attribute, "to").i


def _take_out(model: ModelWrapper, node: NodeProto) -> None:
    """Let the readers of a node read what it reads; the graph's output keeps its name."""
    before, after = node.input[0], node.output[0]
    model.graph.node.remove(node)
    if after == model.graph.output[0].name:
        before, after = after, before
        model.find_producer(after).output[0] = before
    for reader in model.graph.node:
        for index, tensor in enumerate(reader.input):
            if tensor == after:
                reader.input[index] = before


def take_pixels(model: ModelWrapper) -> ModelWrapper:
    """Put the division by 255 in front, and say that the input is UINT8."""
    old = model.graph.input[0].name
    shape = model.get_tensor_shape(old)
    new = "pixels"
    divisor = "pixel_scale"
    model.graph.input[0].name = new
    model.graph.value_info.append(oh.make_tensor_value_info(old, TensorProto.FLOAT, shape))
    model.set_initializer(divisor, np.array(255.0, dtype=np.float32))
    model.graph.node.insert(0, oh.make_node("Div", [new, divisor], [old], name="to_unit_range"))
    model.set_tensor_datatype(new, DataType["UINT8"])
    return model


def take_class(model: ModelWrapper) -> ModelWrapper:
    """Put TopK(1) behind the logits: the graph's output becomes the class index, int64 [N, 1]."""
    model = model.transform(InsertTopK(k=1))
    model.graph.node[-1].name = "top1"
    return model


def annotate(model: ModelWrapper) -> ModelWrapper:
    """Name nodes and tensors after the network's layers; infer shapes, data types and layouts."""
    model = naming.rename(model)
    model = model.transform(InferShapes())
    for step in (InferDataTypes(), InferDataLayouts()):  # they leave nodes and tensors as they are
        model = model.transform(step, cleanup=False)
    return model


PASSES: tuple[Pass, ...] = (
    Pass("clean", clean, pixels=False),
    Pass("pixels", take_pixels, pixels=True),
    Pass("top1", take_class, pixels=True),
    Pass("annotated", annotate, pixels=True),
)

"""What FINN's public transformations lack for the networks of this project; `custom_steps` applies them.

Each one is small and leaves the graph's results as they are. The file stands alone, beside `custom_steps.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation
from qonnx.transformation.infer_datatypes import InferDataTypes

TIE = 1e-9  # quantizer steps: far above the noise of float64, far below any distance that is meant
PASSED_ON = ("MaxPool", "Transpose", "Flatten", "Reshape")
SIGNED_ZERO = ("Add", "GlobalAveragePool")  # need more than the two codes of a sign
LINEAR = ("Mul", "Div", "Add", "Sub", "BatchNormalization")  # with a constant: streamlining takes it into thresholds
PRODUCTS = ("Conv", "MatMul")


def _thresholds(model: ModelWrapper) -> Iterator[tuple[NodeProto, Any, np.ndarray]]:
    """Yield each MultiThreshold with its attributes and its thresholds [channels or 1, steps]."""
    for node in list(model.graph.node):
        if node.op_type == "MultiThreshold":
            yield node, getCustomOp(node), model.get_initializer(node.input[1])


def _padded(node: NodeProto) -> bool:
    pads = next((attribute.ints for attribute in node.attribute if attribute.name == "pads"), ())
    return any(pads)


def _depthwise(node: NodeProto) -> bool:
    return any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)


def _swap(model: ModelWrapper, first: NodeProto, second: NodeProto, middle: str) -> None:
    """Let ``second``, the one reader of ``first``, work before it, with the tensor ``middle`` between them."""
    source, end = first.input[0], second.output[0]
    second.input[0], second.output[0] = source, middle
    first.input[0], first.output[0] = middle, end
    nodes = model.graph.node
    nodes.remove(first)
    nodes.insert(list(nodes).index(second) + 1, first)


class ParametersInDouble(Transformation):
    """Keep scales, offsets and thresholds in float64: a float32 product can land on an integer's other side."""

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Convert what is computed with; weights stay."""
        for node in model.graph.node:
            if node.op_type in ("Mul", "Add", "Sub", "Div", "BatchNormalization", "MultiThreshold"):
                for name in node.input:
                    if (values := model.get_initializer(name)) is not None and values.dtype == np.float32:
                        model.set_initializer(name, values.astype(np.float64))
        return model, False


class ConstantsOfFullRank(Transformation):
    """Give a constant beside an image all four axes: FINN looks for channels by place, and ONNX lets axes of 1 go."""

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Put the axes that are missing in front."""
        for node in model.graph.node:
            if node.op_type not in ("Mul", "Add", "Sub", "Div"):
                continue
            for name, other in zip(node.input, reversed(node.input), strict=True):
                values, axes = model.get_initializer(name), len(model.get_tensor_shape(other) or ())
                if values is None or not 0 < values.ndim < axes or len(model.find_consumers(name)) != 1:
                    continue
                kind = model.get_tensor_datatype(name)
                model.set_initializer(name, values.reshape((1,) * (axes - values.ndim) + values.shape))
                model.set_tensor_datatype(name, kind)
        return model, False


class SignedOffsets(Transformation):
    """Take the offset that FINN's import leaves behind each signed quantizer into its MultiThreshold.

    FINN's own transformation does one at a time and infers the whole graph's types after each.
    """

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Absorb every scalar Add behind unit steps whose sums are whole numbers."""
        for node, op, steps in _thresholds(model):
            behind = model.find_consumers(node.output[0]) or []
            if len(behind) != 1 or behind[0].op_type != "Add" or op.get_nodeattr("out_scale") != 1.0:
                continue
            offset = model.get_initializer(behind[0].input[1])
            if offset is None or offset.size != 1:
                continue
            low = float(op.get_nodeattr("out_bias") + offset.item())
            high = low + steps.shape[1]
            if low != round(low):
                continue
            kind = DataType.get_smallest_possible(high if low >= 0 else min(low, -(high + 1)))
            op.set_nodeattr("out_bias", low)
            op.set_nodeattr("out_dtype", kind.name)
            node.output[0] = behind[0].output[0]
            model.graph.node.remove(behind[0])
            model.set_tensor_datatype(node.output[0], kind)
        return model, False


class OneRowForAllChannels(Transformation):
    """Keep one row of thresholds where all channels have the same: official FINN's main repeats it for each.

    Only then a quantizer is known to be uniform, and may change places with a flatten.
    """

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Shorten every table of equal rows."""
        for node, _, steps in _thresholds(model):
            if len(steps) > 1 and (steps == steps[0]).all():
                model.set_initializer(node.input[1], steps[:1].copy())
        return model, False


class RoundHalfToEven(Transformation):
    """Let a MultiThreshold decide a value halfway between two steps as the quantizer does: the even one wins.

    FINN's thresholds round it up. Values on the grid of one quantizer often lie exactly halfway on another's, at a
    residual addition for instance. Expects the step's scale as a Mul behind, as FINN's import leaves it.
    """

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Write every threshold of a uniform quantizer anew, in float64, a ``TIE`` beside the middle."""
        for node, op, old in _thresholds(model):
            if op.get_nodeattr("out_dtype") == "BIPOLAR" or len(old) != 1 or op.get_nodeattr("out_scale") != 1.0:
                continue
            behind = model.find_consumers(node.output[0])
            scale = model.get_initializer(behind[0].input[1]) if behind and behind[0].op_type == "Mul" else np.ones(1)
            if scale is None or scale.size != 1:
                continue
            level = op.get_nodeattr("out_bias") + np.arange(1, old.shape[1] + 1, dtype=np.float64)
            new = (level - 0.5 + np.where(level % 2 == 0, -TIE, TIE)) * scale.astype(np.float64).reshape(1, 1)
            if np.allclose(new, old, rtol=1e-5, atol=1e-5 * float(np.abs(scale).max())):
                model.set_initializer(node.input[1], new)
        return model, False


class WholeThresholdsAsIntegers(Transformation):
    """Say of thresholds that are whole numbers that they are: official FINN's main says it of those that it rounds."""

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Annotate thresholds of integers with the type of what they compare, or the smallest that holds them."""
        for node, _, steps in _thresholds(model):
            kind = model.get_tensor_datatype(node.input[0])
            known = model.get_tensor_datatype(node.input[1])
            if not kind.is_integer() or known.is_integer() or (steps != np.round(steps)).any():
                continue
            low, high = float(steps.min()), float(steps.max())
            if not kind.min() <= low <= high <= kind.max():
                kind = DataType.get_smallest_possible(high if low >= 0 else min(low, -(high + 1)))
            model.set_tensor_datatype(node.input[1], kind)
        return model, False


class MaxPoolOfCounts(Transformation):
    """Split a signed threshold in front of a padded max-pool: count before it, add the offset behind it.

    Hardware pads with zero, which is the smallest count, but not the smallest signed value.
    """

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Insert a threshold behind the pool that maps the count to the value."""
        for node, op, old in _thresholds(model):
            following = model.find_consumers(node.output[0])
            signed = op.get_nodeattr("out_bias") < 0
            if not signed or len(following) != 1 or following[0].op_type != "MaxPool" or not _padded(following[0]):
                continue
            pool, steps = following[0], old.shape[1]
            count, values = model.make_new_valueinfo_name(), pool.output[0]
            model.set_tensor_shape(count, model.get_tensor_shape(values))
            table = model.make_new_valueinfo_name()
            model.set_initializer(table, np.arange(1, steps + 1, dtype=np.float32).reshape(1, -1))
            again = helper.make_node("MultiThreshold", [count, table], [values], domain=node.domain)
            again.attribute.extend(node.attribute)
            pool.output[0] = count
            kind = "BINARY" if steps == 1 else DataType.get_smallest_possible(steps).name
            for name, value in (("out_scale", 1.0), ("out_bias", 0.0), ("out_dtype", kind)):
                op.set_nodeattr(name, value)
            model.set_tensor_datatype(node.output[0], DataType[kind])
            model.graph.node.insert(list(model.graph.node).index(pool) + 1, again)
            return model, True
        return model, False


class SignsAsIntegers(Transformation):
    """Give a sign two bits where one is not enough: at zero padding, additions, average pools and forks.

    One bit has no code for zero. Two equal thresholds count 0 or 2, and the offset -1 makes that -1 or +1. A sign that
    no matrix multiplication takes in is a layer of its own, which FINN has for integers and for XNOR's bits only; so
    has its depthwise convolution.
    """

    def _stands_alone(self, model: ModelWrapper, tensor: str) -> bool:
        """Whether the thresholds' input comes from no product of matrices."""
        producer = model.find_producer(tensor)
        while producer is not None and producer.op_type in LINEAR and not model.is_join_node(producer):
            producer = model.find_producer(producer.input[0])
        return producer is None or producer.op_type not in PRODUCTS or _depthwise(producer)

    def _counts_bits(self, model: ModelWrapper, tensor: str) -> bool:
        """Whether the one reader becomes XNOR: a product with signs."""
        reader = (model.find_consumers(tensor) or [None])[0]
        if reader is not None and reader.op_type in PASSED_ON:
            return self._counts_bits(model, reader.output[0])
        return (
            reader is not None
            and reader.op_type in PRODUCTS
            and not _depthwise(reader)
            and model.get_tensor_datatype(reader.input[1]) == DataType["BIPOLAR"]
        )

    def _needs_two_bits(self, model: ModelWrapper, tensor: str) -> bool:
        readers = model.find_consumers(tensor) or []
        if len(readers) != 1:
            return True  # FINN's conversion to XNOR rewrites the threshold of one reader only
        reader = readers[0]
        if reader.op_type in SIGNED_ZERO or _padded(reader) or _depthwise(reader):
            return True
        return reader.op_type in PASSED_ON and self._needs_two_bits(model, reader.output[0])

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Rewrite the thresholds of those signs."""
        for node, op, old in _thresholds(model):
            if op.get_nodeattr("out_dtype") != "BIPOLAR":
                continue
            sign = node.output[0]
            alone = self._stands_alone(model, node.input[0]) and not self._counts_bits(model, sign)
            if not alone and not self._needs_two_bits(model, sign):
                continue
            for name, value in (("out_scale", 1.0), ("out_bias", -1.0), ("out_dtype", "INT2")):
                op.set_nodeattr(name, value)
            model.set_initializer(node.input[1], np.repeat(old, 2, axis=1))
            model.set_tensor_datatype(node.output[0], DataType["INT2"])
        return model, False


class MoveFlattenPastMultiThreshold(Transformation):
    """Quantize before flattening: a flatten at the input would stay in software, between layers it costs nothing."""

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Swap them where one row of thresholds serves all channels."""
        for node, op, values in _thresholds(model):
            flatten = model.find_producer(node.input[0])
            if flatten is None or flatten.op_type not in ("Flatten", "Reshape") or len(values) != 1:
                continue
            if len(model.find_consumers(flatten.output[0])) != 1:
                continue
            middle = model.make_new_valueinfo_name()
            shape = model.get_tensor_shape(flatten.input[0])
            model.graph.value_info.append(helper.make_tensor_value_info(middle, TensorProto.FLOAT, shape))
            model.set_tensor_datatype(middle, DataType[op.get_nodeattr("out_dtype")])
            op.set_nodeattr("data_layout", "NCHW" if len(shape) == 4 else "NC")
            _swap(model, flatten, node, middle)
            return model, True
        return model, False


class MoveConstantsPastAddition(Transformation):
    """Add two branches first: x*C + y*C becomes (x + y)*C, and (x + A) + (y + B) becomes (x + y) + (A + B).

    FINN's own transformation does so where another layer reads x*C, too, and lets that one read the sum: a circle,
    where a convolution of x is added to x. Here a fork waits until `MoveLinearPastFork` has given each reader its own.
    """

    def _alike(self, model: ModelWrapper, addition: NodeProto) -> list[NodeProto]:
        """Return the two nodes with constants that only ``addition`` reads and that can follow it, else none."""
        sides = [model.find_producer(tensor) for tensor in addition.input]
        if addition.input[0] == addition.input[1] or not all(self._alone(model, side) for side in sides):
            return []
        left, right = sides
        shapes = [model.get_tensor_shape(name) for name in (left.input[0], right.input[0], addition.output[0])]
        if left.op_type != right.op_type or not shapes[0] == shapes[1] == shapes[2]:
            return []
        constants = [model.get_initializer(side.input[1]) for side in sides]
        return sides if left.op_type == "Add" or np.array_equal(*constants) else []

    def _alone(self, model: ModelWrapper, node: NodeProto | None) -> bool:
        """Whether a node multiplies or adds a constant for one reader."""
        if node is None or node.op_type not in ("Mul", "Add") or model.get_initializer(node.input[1]) is None:
            return False
        return len(model.find_consumers(node.output[0])) == 1

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Move the constants of one addition."""
        for addition in model.get_nodes_by_op_type("Add"):
            sides = self._alike(model, addition)
            if not sides:
                continue
            kept, other = sides
            if kept.op_type == "Add":
                constant = model.get_initializer(kept.input[1]) + model.get_initializer(other.input[1])
                kept.input[1] = model.make_new_valueinfo_name()
                model.set_initializer(kept.input[1], constant)
            middle, end = kept.output[0], addition.output[0]
            addition.input[:] = [kept.input[0], other.input[0]]
            addition.output[0], kept.input[0], kept.output[0] = middle, middle, end
            nodes = model.graph.node
            nodes.remove(other)
            nodes.remove(kept)
            nodes.insert(list(nodes).index(addition) + 1, kept)
            return model.transform(InferDataTypes()), True
        return model, False


class TransposeForkedMaxPool(Transformation):
    """Put a pair of transposes behind a max-pool that several nodes read: FINN's own step would move one reader's."""

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Insert NCHW -> NHWC -> NCHW, which `MakeMaxPoolNHWC` and the readers then take apart."""
        for node in model.get_nodes_by_op_type("MaxPool"):
            end = node.output[0]
            if len(model.find_consumers(end) or []) < 2:
                continue
            shape, kind = model.get_tensor_shape(end), model.get_tensor_datatype(end)
            pooled, last = model.make_new_valueinfo_name(), [shape[i] for i in (0, 2, 3, 1)]
            model.set_tensor_shape(pooled, shape)
            turned = model.make_new_valueinfo_name()
            model.set_tensor_shape(turned, last)
            for name in (pooled, turned):
                model.set_tensor_datatype(name, kind)
            node.output[0] = pooled
            place = list(model.graph.node).index(node) + 1
            model.graph.node.insert(place, helper.make_node("Transpose", [pooled], [turned], perm=[0, 2, 3, 1]))
            model.graph.node.insert(place + 1, helper.make_node("Transpose", [turned], [end], perm=[0, 3, 1, 2]))
        return model, False


class MoveTransposePastConstant(Transformation):
    """Multiply or add per channel before a transpose to NCHW instead of behind it.

    The signs of a batch normalization in front of a block stay as such a multiplication: there is no weight behind
    an addition to take them.
    """

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Swap them and turn the constant."""
        for node in model.get_nodes_by_op_type("Transpose"):
            readers = model.find_consumers(node.output[0]) or []
            if len(readers) != 1 or readers[0].op_type not in ("Mul", "Add"):
                continue
            reader, perm = readers[0], list(helper.get_node_attr_value(node, "perm"))
            constant = model.get_initializer(reader.input[1])
            if constant is None or perm != [0, 3, 1, 2] or constant.ndim not in (0, 4):
                continue
            middle = node.output[0]
            if constant.ndim == 4:
                kind = model.get_tensor_datatype(reader.input[1])
                model.set_initializer(reader.input[1], constant.transpose(0, 2, 3, 1))
                model.set_tensor_datatype(reader.input[1], kind)
            model.set_tensor_datatype(middle, model.get_tensor_datatype(reader.output[0]))
            model.set_tensor_shape(middle, model.get_tensor_shape(node.input[0]))
            _swap(model, node, reader, middle)
            return model, True
        return model, False


class KeepOffsets(Transformation):
    """Put back the thresholds' offsets that FINN's binary layers forget.

    They take the output type's minimum, which is one too low for a narrow quantizer.

    Args:
        model: before the conversion to hardware.
    """

    def __init__(self, model: ModelWrapper):
        super().__init__()
        self.offsets = {node.output[0]: int(op.get_nodeattr("out_bias")) for node, op, _ in _thresholds(model)}

    def apply(self, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        """Set the offset of every matrix layer that took a threshold of more than one bit in."""
        for node in model.graph.node:
            if node.op_type.startswith(("MVAU", "VVAU")) and node.output[0] in self.offsets:
                op = getCustomOp(node)
                if DataType[op.get_nodeattr("outputDataType")].bitwidth() > 1:
                    op.set_nodeattr("ActVal", self.offsets[node.output[0]])
        return model, False

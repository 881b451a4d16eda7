"""A QONNX graph in FINN's eyes, with what flows along each tensor: integers, times a scale, plus an offset.

FINN moves scales and offsets forward until thresholds or TopK absorb them; only integers remain for its hardware.
Whether it will succeed shows in the graph before any step: each tensor's ``Stream`` says what its values are.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import NodeProto, helper
from qonnx.core.modelwrapper import ModelWrapper

from qtrain.export.lint.finding import Spot

QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "MultiThreshold")
PRODUCTS = ("Conv", "MatMul", "Gemm")
# Values pass these unchanged, or with one scale for the whole tensor.
INVARIANT = ("MaxPool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout")
POOLS = ("AveragePool", "GlobalAveragePool")
# These have no hardware; where their mend takes them out, the scales and offsets before them are still there.
SCALES_STAY = ("AveragePool", "Softmax", "LogSoftmax")


@dataclass(frozen=True)
class Stream:
    """What FINN sees in the values of one tensor that depends on the image.

    Attributes:
        integers: whether the values are integers, apart from scale and offset.
        channel_scale: whether each channel has a scale of its own.
        offset: whether something was added to the values.
        channel_offset: whether each channel has an offset of its own.
        culprit: name of the node that made the values what FINN cannot take; empty where none did.
        reported: whether a rule names what made the values no integers; what follows from that is no finding.
    """

    integers: bool = True
    channel_scale: bool = False
    offset: bool = False
    channel_offset: bool = False
    culprit: str = ""
    reported: bool = False

    @property
    def plain(self) -> bool:
        """Whether the values are integers times one scale, which is what a hardware layer takes."""
        return self.integers and not (self.channel_scale or self.offset)


REPORTED = Stream(integers=False, reported=True)


class GraphView:
    """A cleaned QONNX graph with what the rules ask of it.

    Args:
        model: the graph; it has shapes, and its nodes have names.
        paths: module paths of the torch network, where there is one; layers are then named by them.
        fixed: paths of the modules whose quantizers keep their scales in training.

    Attributes:
        model: the graph.
        fixed: paths of the modules whose quantizers keep their scales in training.
        nodes: of the graph, in its order.
        streams: by the names of the tensors that depend on the image; constants have none.
        read: names of the tensors that the graph's outputs are made of, the outputs among them.
    """

    def __init__(self, model: ModelWrapper, paths: Iterable[str] = (), fixed: Collection[str] = ()):
        self.model = model
        self.fixed = fixed
        self.nodes: tuple[NodeProto, ...] = tuple(model.graph.node)
        self._positions = {id(node): position for position, node in enumerate(self.nodes)}
        self._producers = {name: node for node in self.nodes for name in node.output}
        self._consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)
        self._paths = {path.replace(".", "_"): path for path in paths}
        image = model.graph.input[0].name
        self.streams: dict[str, Stream] = {image: Stream(integers=model.get_tensor_datatype(image).is_integer())}
        for node in self.nodes:
            if any(name in self.streams for name in node.input):
                self.streams.update(dict.fromkeys(node.output, _flow(self, node)))
        self.read = {value.name for value in model.graph.output}
        for node in reversed(self.nodes):  # the graph is sorted
            if self.is_read(node):
                self.read.update(node.input)

    def is_read(self, node: NodeProto) -> bool:
        """Return whether the graph's outputs depend on what a node makes."""
        return any(name in self.read for name in node.output)

    def spot(
        self, node: NodeProto, says: str, *, blamed: NodeProto | str | None = None, mend: str = "", step: str = ""
    ) -> Spot:
        """Return the spot of what a rule found at a node.

        Args:
            node: that was looked at; its place in the graph is the spot's.
            says: what FINN says of it.
            blamed: node whose layer is named, or its name; ``node`` itself where None.
            mend: of this case, where it is another than the rule's.
            step: of this case, where it is another than the rule's.
        """
        layer = self.layer(node if blamed is None else blamed)
        return Spot(layer, says, mend, step, self._positions[id(node)])

    def layer(self, node: NodeProto | str) -> str:
        """Return the path of the module that a node (or its name) comes from; the name where no path is known."""
        name = full = node if isinstance(node, str) else node.name
        while name and name not in self._paths:
            name = name.rpartition("_")[0]
        return self._paths.get(name, full)

    def path(self, node: NodeProto) -> str | None:
        """Return the path of the module that a node comes from, None where none is known."""
        layer = self.layer(node)
        return layer if layer in self._paths.values() else None

    def producer(self, tensor: str) -> NodeProto | None:
        """Return the node that makes a tensor, None for the image and for constants."""
        return self._producers.get(tensor)

    def consumers(self, node: NodeProto) -> list[NodeProto]:
        """Return the nodes that read what ``node`` makes."""
        return [reader for name in node.output for reader in self._consumers.get(name, [])]

    def dynamic(self, node: NodeProto) -> list[str]:
        """Return a node's inputs that depend on the image."""
        return [name for name in node.input if name in self.streams]

    def of_type(self, *kinds: str) -> Iterator[NodeProto]:
        """Yield the nodes of these operators that are read, in graph order, those on constants (weights) too."""
        return (node for node in self.nodes if node.op_type in kinds and self.is_read(node))

    def running(self, *kinds: str) -> Iterator[NodeProto]:
        """Yield the nodes of these operators that work on what depends on the image, and are read."""
        return (node for node in self.of_type(*kinds) if self.dynamic(node))

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return a tensor's shape, empty where it is unknown."""
        return tuple(self.model.get_tensor_shape(tensor) or ())

    def constant(self, node: NodeProto, index: int) -> np.ndarray | None:
        """Return a node's constant input by its number; None where it is left out or computed."""
        if len(node.input) <= index:
            return None
        return self.model.get_initializer(node.input[index])

    def weight_quantizer(self, tensor: str) -> NodeProto | None:
        """Return the quantizer that makes a constant tensor, through transposes and the like."""
        node = self.producer(tensor)
        while node is not None and node.op_type not in QUANTIZERS and node.input:
            node = self.producer(node.input[0])
        return node

    def integer_constant(self, tensor: str) -> bool:
        """Whether a constant tensor is quantized: by a quantizer, or by its data type as in FINN's own dialect."""
        if self.weight_quantizer(tensor) is not None:
            return True
        kind = self.model.get_tensor_datatype(tensor)
        return self.model.get_initializer(tensor) is not None and kind.is_integer()

    def quantizer_before(self, tensor: str) -> NodeProto | None:
        """Return the quantizer whose values a tensor holds, through pools and sums, None where there is none."""
        node = self.producer(tensor)
        while node is not None and (node.op_type in INVARIANT or len(self.dynamic(node)) > 1):
            node = self.producer(self.dynamic(node)[0])
        return node if node is not None and node.op_type in QUANTIZERS else None


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name, texts decoded."""
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        values[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return values


def followed_by_quantizer(graph: GraphView, node: NodeProto) -> bool:
    """Whether every reader of a ReLU is a quantizer, which then becomes its thresholds."""
    readers = graph.consumers(node)
    return bool(readers) and all(reader.op_type in QUANTIZERS for reader in readers)


def _flow(graph: GraphView, node: NodeProto) -> Stream:
    """Return the stream that a node makes of those that it reads.

    Behind what a rule names already, only the scales and offsets that come after it are findings of their own.
    """
    inputs = [graph.streams[tensor] for tensor in graph.dynamic(node)]
    stream = _made(graph, node, inputs)
    if node.op_type in QUANTIZERS or not any(stream.reported for stream in inputs):
        return stream
    return REPORTED if len(inputs) > 1 else replace(stream, integers=False, reported=True)


def _made(graph: GraphView, node: NodeProto, inputs: list[Stream]) -> Stream:
    """Return the stream that a node makes of others, as if no rule had named one of them."""
    name = node.name
    kind = node.op_type
    first = inputs[0]
    if kind in QUANTIZERS:
        scale = graph.constant(node, 1)
        per_channel = kind != "MultiThreshold" and scale is not None and scale.size > 1
        return Stream(reported=per_channel, culprit=name)
    if kind in INVARIANT or kind == "GlobalAveragePool":
        return first
    if kind == "AveragePool" and any(reader.op_type == "Trunc" for reader in graph.consumers(node)):
        return first
    if kind in SCALES_STAY:
        return replace(first, integers=False, reported=True)
    if kind == "Trunc":
        return Stream(culprit=name)
    if kind == "Relu" and followed_by_quantizer(graph, node):
        return Stream(integers=False, culprit=name)
    if kind == "BatchNormalization":
        return replace(first, channel_scale=True, offset=True, channel_offset=True, culprit=_culprit(first, name))
    if kind in PRODUCTS:
        return _product(graph, node)
    if kind in ("Add", "Sub", "Mul", "Div"):
        return _elementwise(graph, node, inputs)
    return REPORTED


def _product(graph: GraphView, node: NodeProto) -> Stream:
    """Return the stream behind a convolution or matrix product; whether it may read what it reads, rules say."""
    weight = graph.weight_quantizer(node.input[1])
    scale = graph.constant(weight, 1) if weight is not None else None
    per_channel = scale is not None and scale.size > 1
    bias = len(node.input) > 2
    return Stream(channel_scale=per_channel, offset=bias, channel_offset=bias, culprit=node.name)


def _elementwise(graph: GraphView, node: NodeProto, inputs: list[Stream]) -> Stream:
    """Return the stream behind an addition or multiplication, by a constant or of two streams."""
    first = inputs[0]
    if len(inputs) == 2:
        integers_are_added = node.op_type == "Add" and all(stream.plain for stream in inputs)
        return Stream(culprit=node.name) if integers_are_added else REPORTED
    constants = [graph.shape(tensor) for tensor in node.input if tensor not in graph.streams]
    by_channel = any(math.prod(shape) > 1 for shape in constants)
    culprit = _culprit(first, node.name)
    if node.op_type in ("Mul", "Div"):
        return replace(first, channel_scale=first.channel_scale or by_channel, culprit=culprit)
    return replace(first, offset=True, channel_offset=first.channel_offset or by_channel, culprit=culprit)


def _culprit(before: Stream, name: str) -> str:
    """Return the name of the node to blame: the first that made scales or offsets differ by channel, else ``name``."""
    return before.culprit if before.channel_scale or before.channel_offset else name

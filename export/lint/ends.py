"""Rules about what comes into a graph and what goes out: one image of a fixed size, one row of logits or a class."""

from __future__ import annotations

from collections.abc import Iterator

from qonnx.core.modelwrapper import ModelWrapper

from qtrain.export.lint.errors import unreadable_words
from qtrain.export.lint.finding import UNMAPPED, WHOLE, Spot
from qtrain.export.lint.streams import INVARIANT, QUANTIZERS, GraphView

OLDER_NAMES = {"IntQuant": "Quant"}  # qonnx renamed it; finn-plus and official FINN know the older one
NOT_QUANTIZED = UNMAPPED.format("all of them; it is not quantized")
_QUANTIZED = (*QUANTIZERS, "Trunc", "FloatQuant", "QuantizeLinear")

# --- Of a graph as it was read ---------------------------------------------------------------------------------------


def no_layers(model: ModelWrapper) -> Iterator[Spot]:
    """Find graphs that are empty."""
    if len(model.graph.input) == 0 or not model.graph.node:
        yield Spot(WHOLE, unreadable_words("it has no input or no layers"))


def float_graphs(model: ModelWrapper) -> Iterator[Spot]:
    """Find graphs without any quantizer."""
    if not any(node.op_type in _QUANTIZED for node in model.graph.node):
        yield Spot(WHOLE, NOT_QUANTIZED)


def open_sizes(model: ModelWrapper) -> Iterator[Spot]:
    """Find sizes of the image that the graph leaves open; its batch is one image by itself.

    Args:
        model: as it was read: shape inference hides what is open.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in constants or (dims and dims[0].dim_value >= 0 and all(dim.dim_value > 0 for dim in dims[1:])):
            continue
        if not dims:
            yield Spot(WHOLE, f"nothing: input {value.name} says no shape, and hardware is built for one size")
            continue
        sizes = ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims)
        yield Spot(WHOLE, f"nothing: input {value.name} is [{sizes}], and hardware is built for one size")


def newer_names(model: ModelWrapper) -> Iterator[Spot]:
    """Find operators under a newer name than the compilers know."""
    for newer, older in OLDER_NAMES.items():
        if any(node.op_type == newer for node in model.graph.node):
            says = f"leaves every {newer} in software: it knows them by their older name, {older}"
            mend = f"rename them: for n in model.graph.node: n.op_type = n.op_type.replace('{newer}', '{older}'); "
            mend += "`qtrain verify --finn` and `qtrain estimate` do so by themselves"
            yield Spot(WHOLE, says, mend)


def outputs(model: ModelWrapper) -> Iterator[Spot]:
    """Find outputs that are no row of logits, no class, or more than one.

    Args:
        model: cleaned, with shapes.
    """
    names = [value.name for value in model.graph.output]
    if len(names) > 1:
        says = f"one stream of answers needs one output, but the graph has {len(names)}: {', '.join(names)}"
        yield Spot(WHOLE, says, "keep the logits, or their TopK, as the only output")
        return
    last = model.find_producer(names[0])
    logits = last.input[0] if last is not None and last.op_type == "TopK" else names[0]
    shape = model.get_tensor_shape(logits)
    if shape and len(shape) != 2:
        says = f"TopK and the labels need one row of logits for an image, but the graph returns the shape {shape}"
        yield Spot(WHOLE, says, "end with one tensor [1, classes]")
    elif shape and shape[1] == 1:
        yield one_logit()


def one_logit() -> Spot:
    """Return the spot of a network that has nothing to choose from."""
    says = "nothing, and answers class 0 for every image: TopK over one logit has nothing to choose from"
    mend = "give the last layer two outputs and train with cross entropy; a sigmoid's threshold is their difference"
    return Spot(WHOLE, says, mend)


def float_images(model: ModelWrapper) -> Iterator[Spot]:
    """Find inputs that are not annotated as integers.

    Args:
        model: cleaned, with data types.
    """
    name = model.graph.input[0].name
    if not model.get_tensor_datatype(name).is_integer():
        says = f"gives the first layer 32-bit floats (finn-plus; official FINN: software): input {name} is not UINT8"
        yield Spot(WHOLE, says)


def no_class(model: ModelWrapper) -> Iterator[Spot]:
    """Find graphs that give logits and no class."""
    if not any(node.op_type == "TopK" for node in model.graph.node):
        says = "builds the last scale in 32-bit floats (finn-plus; official FINN: software): no TopK behind the logits"
        yield Spot(WHOLE, says)


# --- Of a cleaned graph ----------------------------------------------------------------------------------------------


def heads(graph: GraphView) -> Iterator[Spot]:
    """Find what may change the order of the logits in front of TopK: a positive scale and an offset do not."""
    says = "leaves TopK in software"
    for node in graph.running("TopK"):
        last = graph.producer(node.input[0])
        while last is not None and last.op_type in INVARIANT:
            last = graph.producer(last.input[0])
        if last is not None and last.op_type in ("Softmax", "LogSoftmax"):
            yield graph.spot(node, says, blamed=last, mend=f"return the logits: {last.op_type} changes no class")
        stream = graph.streams[node.input[0]]
        if stream.channel_scale or stream.channel_offset:
            yield graph.spot(node, says, blamed=stream.culprit)

"""What comes into a graph and what goes out: one image of a fixed size, one row of logits or a class."""

from __future__ import annotations

from collections.abc import Iterator

from qonnx.core.modelwrapper import ModelWrapper

from qtrain.export.lint.finding import WHOLE, Finding

EXPORT = "before FINN: the export"
OLDER_NAMES = {"IntQuant": "Quant"}  # qonnx renamed it; finn-plus and official FINN know the older one


def open_sizes(model: ModelWrapper) -> Iterator[Finding]:
    """Sizes of the image that the graph leaves open; its batch is one image by itself.

    Args:
        model: as it was read: shape inference hides what is open.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in constants or all(dim.dim_value > 0 for dim in dims[1:]):
            continue
        sizes = ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims)
        says = f"nothing: input {value.name} is [{sizes}], and hardware is built for one size"
        mend = "fix channels, height and width: export without dynamic_axes, or use onnx.tools.update_model_dims"
        yield Finding("open-size", "error", WHOLE, says, EXPORT, mend)


def outputs(model: ModelWrapper) -> Iterator[Finding]:
    """Outputs that are no row of logits, no class, or more than one.

    Args:
        model: cleaned, with shapes.
    """
    names = [value.name for value in model.graph.output]
    if len(names) > 1:
        says = f"one stream of answers needs one output, but the graph has {len(names)}: {', '.join(names)}"
        yield Finding("output", "error", WHOLE, says, EXPORT, "keep the logits, or their TopK, as the only output")
        return
    last = model.find_producer(names[0])
    logits = last.input[0] if last is not None and last.op_type == "TopK" else names[0]
    shape = model.get_tensor_shape(logits)
    if shape and len(shape) != 2:
        says = f"TopK and the labels need one row of logits for an image, but the graph returns the shape {shape}"
        yield Finding("output", "error", WHOLE, says, EXPORT, "end with one tensor [1, classes]")
    elif shape and shape[1] == 1:
        yield one_logit()


def one_logit() -> Finding:
    """Make the finding about a network that has nothing to choose from."""
    says = "nothing, and answers class 0 for every image: TopK over one logit has nothing to choose from"
    mend = "give the last layer two outputs and train with cross entropy; a sigmoid's threshold is their difference"
    return Finding("output", "error", WHOLE, says, EXPORT, mend)


def older_names(model: ModelWrapper) -> Iterator[Finding]:
    """Operators under a newer name than the compilers know."""
    for newer, older in OLDER_NAMES.items():
        if any(node.op_type == newer for node in model.graph.node):
            says = f"leaves every {newer} in software: it knows them by their older name, {older}"
            mend = f"rename them: for n in model.graph.node: n.op_type = n.op_type.replace('{newer}', '{older}'); "
            mend += "`qtrain verify --finn` and `qtrain estimate` do so by themselves"
            yield Finding("renamed", "warning", WHOLE, says, "step_qonnx_to_finn", mend)

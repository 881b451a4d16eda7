"""The graph of a float module: each call of a layer or a function, with the shape of what it gives."""

import copy
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from qtrain.errors import UserError

BATCH = 2  # images that the shapes are measured with
# Classes whose forward is known; a subclass that leaves it alone is as good.
_LEAVES = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.MaxPool2d)


class _Tracer(fx.Tracer):
    """Looks into every module but torch's own."""

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        """Tell torch's layers, and subclasses that change nothing in their forward, from what is looked into."""
        known = any(isinstance(module, kind) and type(module).forward is kind.forward for kind in _LEAVES)
        return known or super().is_leaf_module(module, path)


class Traced:
    """A traced module.

    Attributes:
        module: a copy of the float module, in evaluation mode, in float32 on the CPU.
        nodes: of the graph, in the order they are called in.
        shape: of one image, (C, H, W).
        classes: logits an image.
    """

    def __init__(self, module: nn.Module, graph: fx.Graph, shape: tuple[int, ...], classes: int):
        self.module = module
        self.nodes = list(graph.nodes)
        self.shape = shape
        self.classes = classes

    def layer(self, node: fx.Node) -> nn.Module:
        """Return the layer that a node calls."""
        return self.module.get_submodule(str(node.target))

    def constant(self, node: fx.Node) -> Any:
        """Return the tensor that a node fetches from the module."""
        owner, _, name = str(node.target).rpartition(".")
        return getattr(self.module.get_submodule(owner), name)


def trace(model: nn.Module, shape: tuple[int, ...]) -> Traced:
    """Trace a float module as it runs in evaluation mode.

    Args:
        model: takes float images [N, C, H, W] and returns logits [N, classes]; it is left as it is.
        shape: of one image, (C, H, W).

    Raises:
        UserError: the module's way depends on values, it does not take such images, or it returns no logits.
    """
    module = copy.deepcopy(model).cpu().float().eval()
    tracer = _Tracer()
    try:
        graph = tracer.trace(module)
    except Exception as error:
        raise UserError(
            f"{type(model).__name__} cannot be traced{_place(error)}: {_first_line(error)}; take what depends on "
            "values or sizes (if, for, assert, int(), len() of tensors) out of forward"
        ) from error
    images = torch.rand(BATCH, *shape)
    try:
        with torch.no_grad():
            module(images.clone())
            logits = ShapeProp(fx.GraphModule(module, graph)).propagate(images)
    except Exception as error:
        raise UserError(
            f"{type(model).__name__} does not take images of {_by(shape)}: {_first_line(error)}; give the shape "
            "(channels, height, width) of the images that it was trained on"
        ) from error
    return Traced(module, graph, shape, _classes(type(model).__name__, logits))


def _classes(name: str, logits: object) -> int:
    if not isinstance(logits, Tensor):
        kind = type(logits).__name__
        raise UserError(f"{name} returns a {kind}, not one tensor of logits; return the logits [N, classes] alone")
    if logits.dim() != 2 or len(logits) != BATCH:
        found = ["N", *logits.shape[1:]]
        raise UserError(f"{name} returns {found}, not one row of logits for an image; return [N, classes]")
    return logits.shape[1]


def size(node: fx.Node) -> tuple[int, ...] | None:
    """Return the shape of what a node gives, without the batch; None where it is no tensor."""
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape[1:]) if isinstance(meta, TensorMetadata) else None


def holder(node: fx.Node) -> str:
    """Return the path of the module in whose forward a node stands; the root's is empty."""
    stack = list((node.meta.get("nn_module_stack") or {}).keys())
    if node.op == "call_module" and stack:
        stack.pop()
    return stack[-1] if stack else ""


def tensors(node: fx.Node) -> Iterator[fx.Node]:
    """Yield the nodes that give a node its tensors."""
    for source in node.all_input_nodes:
        if source.op == "get_attr" or size(source) is not None:
            yield source


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _place(error: BaseException) -> str:
    """Return the line of the user's own code that the error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and frame.filename != __file__]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""

"""From a trained torch module to its QONNX graph, through Brevitas' exporter."""

import brevitas.config
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.errors import UserError
from qtrain.export.bare import bare_copy, called
from qtrain.export.decoupled import decoupled_weights
from qtrain.export.use_names import name_uses
from qtrain.records.files import temporary_folder


def to_qonnx(model: nn.Module, shape: tuple[int, ...]) -> ModelWrapper:
    """Export ``model`` in evaluation mode, on the CPU, for one image of ``shape`` (C, H, W) in [0, 1].

    Raises:
        UserError: Brevitas' JIT is on, which its exporter refuses, or no operator of the graph reads the image.
    """
    if brevitas.config.JIT_ENABLED:
        raise UserError("BREVITAS_JIT=1 is set, but Brevitas can export without its JIT only; unset it")
    module = bare_copy(model)
    for layer, weight in decoupled_weights(module, torch.zeros(1, *shape)).items():
        module.get_submodule(layer).weight.data = weight.value
    name_uses(module)
    # The scale and width of a QuantTensor would be further outputs.
    module.register_forward_hook(lambda _module, _args, out: getattr(out, "value", out))
    from brevitas.export import (
        export_qonnx,
    )  # with it comes torch's compiler: a second, which reading a graph can spare

    with temporary_folder("qtrain-qonnx-") as folder:
        path = folder / "model.onnx"
        # The dynamo exporter writes graphs that FINN refuses (Gemm without bias, ReduceMean for pools).
        export_qonnx(module, args=torch.zeros(1, *shape), export_path=str(path), dynamo=False)
        graph = ModelWrapper(str(path))
    if not _reads_an_image(graph):
        raise UserError(
            f"torch's exporter finds nothing in {called(model)} that reads the image, so that its answer would be a "
            "constant; compute with torch alone between the image and the logits, without .numpy() or .item()"
        )
    return graph


def _reads_an_image(graph: ModelWrapper) -> bool:
    """Tell whether a node reads an input that is no weight; torch lists weights among the inputs."""
    weights = {tensor.name for tensor in graph.graph.initializer}
    images = {described.name for described in graph.graph.input} - weights
    return any(not images.isdisjoint(node.input) for node in graph.graph.node)

"""From a trained torch module to its QONNX graph, through Brevitas' exporter."""

import brevitas.config
import torch
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.errors import UserError
from qtrain.export.bare import bare_copy
from qtrain.export.decoupled import decoupled_weights
from qtrain.export.use_names import name_uses
from qtrain.records.files import temporary_folder


def to_qonnx(model: nn.Module, shape: tuple[int, ...]) -> ModelWrapper:
    """Export ``model`` in evaluation mode, on the CPU, for one image of ``shape`` (C, H, W) in [0, 1].

    Raises:
        UserError: Brevitas' JIT is on, which its exporter refuses.
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
        return ModelWrapper(str(path))

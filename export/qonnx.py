"""From a trained torch module to its QONNX graph, through Brevitas' exporter."""

import copy
import tempfile
from pathlib import Path

import brevitas.config
import torch
from brevitas.export import export_qonnx
from qonnx.core.modelwrapper import ModelWrapper
from torch import nn

from qtrain.errors import UserError


def to_qonnx(model: nn.Module, shape: tuple[int, ...]) -> ModelWrapper:
    """Export ``model`` in evaluation mode, on the CPU, for one image of ``shape`` (C, H, W) in [0, 1].

    Raises:
        UserError: Brevitas' JIT is on, which its exporter refuses.
    """
    if brevitas.config.JIT_ENABLED:
        raise UserError("BREVITAS_JIT=1 is set, but Brevitas can export without its JIT only; unset it")
    module = copy.deepcopy(model).cpu().float().eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        # The dynamo exporter writes graphs that FINN refuses (Gemm without bias, ReduceMean for pools).
        export_qonnx(module, args=torch.zeros(1, *shape), export_path=str(path), dynamo=False)
        return ModelWrapper(str(path))

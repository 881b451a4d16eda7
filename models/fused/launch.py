"""How tensors and scales are handed to kernels."""

import torch
from torch import Tensor

from qtrain.models.fused.carried import Scale


def scale_argument(scale: Scale, any_tensor: Tensor) -> tuple[Tensor, float]:
    """Return a pointer and a constant, of which the scale's kind chooses one."""
    return (scale, 0.0) if isinstance(scale, Tensor) else (any_tensor, scale)


def scale_kind(scale: Scale) -> int:
    """Return what a kernel reads: 0 for a constant, 1 for one number, 2 for one for each channel or row."""
    if not isinstance(scale, Tensor):
        return 0
    return 1 if scale.numel() == 1 else 2


def rows_of(tensor: Tensor) -> Tensor:
    """Return [N, C] or [N, C, H, W] as rows of channels; a view where channels come last already."""
    if tensor.dim() == 2:
        return tensor.contiguous()
    last = tensor.contiguous(memory_format=torch.channels_last)
    return last.permute(0, 2, 3, 1).reshape(-1, tensor.shape[1])


def empty_channels_last(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return room for a tensor of that shape whose ``rows_of`` is a view."""
    memory = torch.contiguous_format if tensor.dim() == 2 else torch.channels_last
    return torch.empty(tensor.shape, dtype=dtype, device=tensor.device, memory_format=memory)

"""What a proof is of, in one number each: the trained weights, and the images with their labels."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from qtrain.export.bare import unwrapped


def _digest(parts: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of tensors with their names, types and shapes."""
    found = hashlib.sha256()
    for name, tensor in parts:
        if tensor.dtype is torch.bfloat16:  # NumPy has no such type; float32 holds every value of it
            tensor = tensor.float()
        values = tensor.detach().cpu().contiguous().numpy()
        found.update(f"{name} {values.dtype.str} {list(values.shape)}\n".encode())
        found.update(values.tobytes())
    return found.hexdigest()


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of everything that a network keeps: weights, scales, statistics; the same on every machine."""
    state = unwrapped(model).state_dict()
    return _digest((name, state[name]) for name in sorted(state) if isinstance(state[name], Tensor))


def test_digest(pixels: Tensor, labels: Tensor) -> str:
    """SHA-256 of a test split: uint8 images [N, C, H, W] and labels int64 [N]."""
    return _digest((("images", pixels), ("labels", labels)))


def images_digest(pixels: Tensor) -> str:
    """SHA-256 of uint8 images [N, C, H, W]."""
    return _digest((("images", pixels),))

"""Where tensors are computed: a device by its name."""

import torch

from qtrain.errors import UserError


def named_device(name: str) -> torch.device:
    """Return ``cpu``, ``cuda``, ``cuda:N``, or for ``auto`` a GPU where there is one.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name!r} is not available here; use auto, cpu or cuda:N")
    return device

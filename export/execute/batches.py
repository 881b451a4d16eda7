"""How many images are computed at a time."""

import torch

# What the largest tensor of a batch may take, in bytes. On a CPU a batch runs from the last level of the cache, twice
# as fast as from memory; a GPU wants many images, for its launches.
_CACHE = 2**23
_GPU = 2**28
_MOST = 1000


def images_at_a_time(values: int, device: torch.device, itemsize: int = 8) -> int:
    """Return the size of a batch.

    Args:
        values: of one image's largest tensor.
        device: that computes.
        itemsize: bytes of a value.
    """
    room = _CACHE if device.type == "cpu" else _GPU
    return max(1, min(_MOST, room // (itemsize * max(1, values))))

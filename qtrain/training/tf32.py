"""Whether a GPU's tensor cores may round float32 operands to TF32's 10 bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Inside, convolutions and matrix products on a GPU may use TF32 or not; torch itself lets convolutions use it.

    Dequantized values lose bits to it, so accuracy is always measured without. Integers of up to 8 bits lose nothing.
    """
    libraries: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    kept = [library.allow_tf32 for library in libraries]
    for library in libraries:
        library.allow_tf32 = allowed
    try:
        yield
    finally:
        for library, before in zip(libraries, kept, strict=True):
            library.allow_tf32 = before

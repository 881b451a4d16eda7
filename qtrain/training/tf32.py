"""Whether a GPU's tensor cores may round float32 operands to TF32's 10 bits.

torch has two interfaces for it: flags named ``allow_tf32``, and since 2.9 settings named ``fp32_precision``, each of
which follows a wider one until it is set itself. A flag that says no only lets its setting follow the wider one, and
where the two disagree reading the flag raises. So both are set here, and put back to what was set before. Only torch's
first default, which lets convolutions use TF32 until a wider setting is made, can be put back as its value alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_FLAGS: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
_FOLLOWS = "none"  # of a setting: what the wider one says


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Inside, convolutions and matrix products on a GPU may use TF32 or not; torch itself lets convolutions use it.

    Dequantized values lose bits to it, so accuracy is always measured without. Integers of up to 8 bits lose nothing.
    """
    flags = _read_flags()
    settings = _read_settings()
    if flags is not None:
        _write_flags([allowed] * len(_FLAGS))
    for setting, _, _ in settings:
        setting.fp32_precision = "tf32" if allowed else "ieee"
    try:
        yield
    finally:
        if flags is not None:
            _write_flags(flags)
        for setting, own, said in settings:
            setting.fp32_precision = own
            if setting.fp32_precision != said:
                setting.fp32_precision = said


def _read_flags() -> list[bool] | None:
    """The older interface's; None where they contradict what was set by the newer one."""
    try:
        return [bool(library.allow_tf32) for library in _FLAGS]
    except RuntimeError:
        return None


def _write_flags(values: list[bool]) -> None:
    for library, value in zip(_FLAGS, values, strict=True):
        library.allow_tf32 = value


def _read_settings() -> list[tuple[Any, str, str]]:
    """The newer interface's for convolutions, recurrent layers and matrix products; none in a torch without it.

    Each with how it was set, and what it says: where it was not set, what a wider one does.
    """
    wide: Any = torch.backends
    cudnn: Any = torch.backends.cudnn
    if not hasattr(wide, "fp32_precision"):
        return []
    own = _own(cudnn, wide, wide.fp32_precision)
    leaves: tuple[Any, ...] = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)
    said = [leaf.fp32_precision for leaf in leaves]
    return [(leaf, _own(leaf, cudnn, own), value) for leaf, value in zip(leaves, said, strict=True)]


def _own(setting: Any, wider: Any, wider_is: str) -> str:
    """What was set there; reading it alone does not tell whether it follows the wider setting, which is moved here."""
    found = []
    for value in ("ieee", "tf32"):
        wider.fp32_precision = value
        found.append(str(setting.fp32_precision))
    wider.fp32_precision = wider_is
    return found[0] if found[0] == found[1] else _FOLLOWS

"""Sums in float32 that are sums in float32: on a GPU without TF32 and cuDNN, on a CPU without bfloat16."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

_EXACT = ("ieee", "none")
_FOLLOWS = "none"  # of a setting: what torch's wider one says


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Inside, a float32 product on ``device`` rounds no operand, and a convolution adds products and nothing else.

    TF32 would round operands to 10 bits and bfloat16 to 8, where a user allowed it. cuDNN may choose Winograd's or
    Fourier's form of a convolution, which compute whole sums by fractions; torch's own kernels multiply matrices.
    """
    backends: Any = torch.backends
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(_set(backends.cudnn, "enabled", False))
        if not hasattr(backends, "fp32_precision"):  # torch before 2.9
            stack.enter_context(_highest())
        elif device.type == "cuda":
            stack.enter_context(_ieee(backends.cuda.matmul, older="allow_tf32"))
        else:
            stack.enter_context(_ieee(backends.mkldnn.conv))
            stack.enter_context(_ieee(backends.mkldnn.matmul))
        yield


@contextmanager
def _set(where: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(where, name)
    setattr(where, name, value)
    try:
        yield
    finally:
        setattr(where, name, before)


@contextmanager
def _highest() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _ieee(setting: Any, older: str | None = None) -> Iterator[None]:
    """A setting at float32's own precision, and the flag of torch's older interface, which must not contradict it."""
    said = setting.fp32_precision
    if said in _EXACT:
        yield
        return
    flag = None if older is None else _readable(setting, older)
    if older is not None and flag is not None:
        setattr(setting, older, False)
    setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        if older is not None and flag is not None:
            setattr(setting, older, flag)
        setting.fp32_precision = _FOLLOWS
        if setting.fp32_precision != said:
            setting.fp32_precision = said


def _readable(setting: Any, flag: str) -> Any:
    """A flag of the older interface; None where it contradicts what was set by the newer one."""
    try:
        return getattr(setting, flag)
    except RuntimeError:
        return None

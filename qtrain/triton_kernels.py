"""Which devices compute with this project's Triton kernels, and who decides so.

Every computation that has a kernel has a plain form in PyTorch as well, which computes everywhere. A device is trusted
with the kernels of a room once the room's own check has held them to the plain forms there; where they differ or do not
run, one line says that the plain forms compute.
"""

import warnings
from collections.abc import Callable, Iterator

import torch

SAID = "this GPU computes without the fused kernels "
Checks = Iterator[tuple[str, bool]]

_trusted: set[tuple[str, torch.device]] = set()
_judged: set[tuple[str, torch.device]] = set()


def trusted(room: str, device: torch.device) -> bool:
    """Whether the kernels of ``room`` compute on ``device``."""
    return (room, device) in _trusted


def trust(room: str, device: torch.device, *, kernels: bool = True) -> None:
    """Compute on ``device`` with the room's kernels from now on, or with the plain forms."""
    (_trusted.add if kernels else _trusted.discard)((room, device))


def use_kernels(room: str, device: torch.device, checks: Callable[[torch.device], Checks]) -> None:
    """Let a room's kernels compute on a GPU from now on, where they are right there; each GPU is looked at once.

    Args:
        room: name of the kernels, for a person: "of normalisation".
        device: of the tensors, with its index; nothing happens where it is no GPU.
        checks: as ``why_not``'s.
    """
    if device.type != "cuda" or (room, device) in _judged:
        return
    _judged.add((room, device))
    reason = why_not(device, checks)
    if reason is None:
        trust(room, device)
    else:
        warnings.warn(f"{SAID}{room}: {reason}", stacklevel=3)


def why_not(device: torch.device, checks: Callable[[torch.device], Checks]) -> str | None:
    """Say in one line why kernels may not be used on ``device``; None where all agree with their plain forms.

    Args:
        device: where they are run.
        checks: runs them; yields what was compared, and whether both forms agree. Random numbers are alike each time.
    """
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    try:
        for what, agrees in checks(device):
            if not agrees:
                return f"{what} differs from its plain form"
    except Exception as error:  # no Triton, or whatever its compiler raises
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    finally:
        torch.random.set_rng_state(state)
    return None

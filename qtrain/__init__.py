"""qtrain: train quantized networks with one learning-rate number, and deploy them to FPGAs through QONNX and FINN."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtrain import brevitas_start

if TYPE_CHECKING:
    from qtrain.schedulers import ASLR, layer_groups

__version__ = "0.1.0"
__all__ = ["ASLR", "__version__", "layer_groups"]

_here = Path(__file__).parent
if not (_here / "models").is_dir():  # a checkout: qtrain.models and qtrain.export are the folders beside this package
    __path__.append(str(_here.parent))
brevitas_start.install()


def __getattr__(name: str) -> Any:
    # Loaded on first use: the command line sets OpenMP's variables before torch is imported.
    if name in ("ASLR", "layer_groups"):
        from qtrain import schedulers

        return getattr(schedulers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

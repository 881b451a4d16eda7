"""The Triton kernels compile for GPUs that are not here, and need no more than these have."""

import inspect
from types import ModuleType
from typing import Any

import pytest

from tests.kernels import CAPABILITIES, resources
from tests.sampled import sampled

Modules = dict[str, ModuleType]
TENSORS = 48  # of an update's launch
FLOATS = ("constant", "eps", "share", "low", "high", "momentum", "decay", "beta_1", "beta_2")
INTEGERS = ("rows", "channels", "tiles", "part_rows", "size", "count_of_parts", "height", "width")
TYPES: dict[str, Any] = {"counter": "*i64", "labels": "*i64", "shown": "*i64", "position": "*i64", "bounds": "*i64"}
TYPES |= {"gradient": "*bf16", "padded": "*u8", "table": "*i32"}
POINTERS = ("parameters", "gradients", "buffers", "means", "squares", "counts")
TYPES |= {name: ("*fp32",) * TENSORS for name in POINTERS}
TYPES |= {name: ("i32",) * TENSORS for name in ("starts", "sizes", "groups")}
TYPES |= {"limits": ("fp32",) * TENSORS}


def type_of(name: str) -> Any:
    """What Triton calls the type that an argument has in training."""
    if name in TYPES:
        return TYPES[name]
    if name.endswith(INTEGERS):
        return "i32"
    return "fp32" if name.endswith(FLOATS) else "*fp32"


FUSED = "qtrain.models.fused"
CONSTANTS = {"SIGN": False, "CLAMPS": True, "RELU": True, "DEQUANTIZES": False, "INPUT": 1, "WEIGHT": 2, "OWN": 1}
CONSTANTS |= {"KIND": 2, "FACTOR_KIND": 1, "PARTS": 256, "BLOCK": 1024, "COUNT": TENSORS}
CONSTANTS |= {"MOMENTUM": True, "NESTEROV": True, "SHARES": 32}
TILE = {"ROWS": 64, "COLUMNS": 64}
KERNELS: list[tuple[str, str, dict[str, int]]] = [
    (f"{FUSED}.norm_kernels", "moments_kernel", TILE),
    (f"{FUSED}.norm_kernels", "statistics_kernel", {"COLUMNS": 16}),
    (f"{FUSED}.norm_kernels", "quantize_kernel", TILE),
    (f"{FUSED}.norm_kernels", "totals_kernel", TILE),
    (f"{FUSED}.norm_kernels", "gradient_kernel", TILE),
    (f"{FUSED}.rounding_kernels", "integers_kernel", {}),
    (f"{FUSED}.rounding_kernels", "gradient_kernel", {}),
    (f"{FUSED}.magnitude_kernels", "magnitude_kernel", {}),
    ("qtrain.data.crop_kernels", "crop_kernel", {}),
    ("qtrain.training.captured.update_kernels", "sgd_kernel", {}),
    ("qtrain.training.captured.update_kernels", "adam_kernel", {"DECOUPLED": False}),
    ("qtrain.training.captured.update_kernels", "adam_kernel", {"DECOUPLED": True}),
]


def test_no_kernel_is_left_out(compiled: Modules) -> None:
    jitted = {
        (name, kernel)
        for name, module in compiled.items()
        for kernel, found in vars(module).items()
        if kernel.endswith("_kernel") and found.__module__ == name
    }
    assert jitted == {(module, kernel) for module, kernel, _ in KERNELS}


@pytest.mark.parametrize("capability", sampled(CAPABILITIES, [80]))
@pytest.mark.parametrize(("module", "name", "sizes"), KERNELS)
def test_a_kernel_compiles_without_spills(
    module: str, name: str, sizes: dict[str, int], capability: int, compiled: Modules
) -> None:
    kernel = getattr(compiled[module], name)
    parameters = inspect.signature(kernel.fn).parameters
    constants = {key: value for key, value in (CONSTANTS | sizes).items() if key in parameters}
    types = {key: type_of(key) for key in parameters if key not in constants}
    if name in ("quantize_kernel", "integers_kernel") or kernel.fn.__module__.endswith("norm_kernels"):
        types |= {"out": "*bf16"} if "out" in types else {}
    used = resources(kernel, capability, types, constants)
    assert used["STACK"] == used["LOCAL"] == 0  # nothing is spilled
    assert 0 < used["REG"] <= 128  # two programs of eight warps fit a multiprocessor
    assert used["SHARED"] <= 48 * 1024

"""The Triton kernels compile for GPUs that are not here, and need no more than these have."""

import inspect
from types import ModuleType

import pytest

from tests.kernels import CAPABILITIES, resources

Modules = dict[str, ModuleType]
FLOATS = ("constant", "eps", "share", "low", "high")
TYPES = {"counter": "*i64", "rows": "i32", "channels": "i32", "tiles": "i32", "part_rows": "i32", "size": "i32"}
TYPES |= {"count_of_parts": "i32", "gradient": "*bf16"}


def type_of(name: str) -> str:
    """What Triton calls the type that an argument has in training."""
    return TYPES.get(name) or ("fp32" if name.endswith(FLOATS) else "*fp32")


CONSTANTS = {"SIGN": False, "CLAMPS": True, "RELU": True, "DEQUANTIZES": False, "INPUT": 1, "WEIGHT": 2, "OWN": 1}
CONSTANTS |= {"KIND": 2, "FACTOR_KIND": 1, "PARTS": 128, "BLOCK": 1024}
KERNELS = [
    ("norm_kernels", "moments_kernel", {"ROWS": 64, "COLUMNS": 64}),
    ("norm_kernels", "statistics_kernel", {"COLUMNS": 16}),
    ("norm_kernels", "quantize_kernel", {"ROWS": 64, "COLUMNS": 64}),
    ("norm_kernels", "totals_kernel", {"ROWS": 64, "COLUMNS": 64}),
    ("norm_kernels", "gradient_kernel", {"ROWS": 64, "COLUMNS": 64}),
    ("rounding_kernels", "integers_kernel", {}),
    ("rounding_kernels", "gradient_kernel", {}),
]


def test_no_kernel_is_left_out(compiled: Modules) -> None:
    jitted = {
        (name.rpartition(".")[2], kernel)
        for name, module in compiled.items()
        for kernel, found in vars(module).items()
        if kernel.endswith("_kernel") and found.__module__ == name
    }
    assert jitted == {(module, kernel) for module, kernel, _ in KERNELS}


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize(("module", "name", "sizes"), KERNELS)
def test_a_kernel_compiles_without_spills(
    module: str, name: str, sizes: dict[str, int], capability: int, compiled: Modules
) -> None:
    kernel = getattr(compiled[f"qtrain.models.fused.{module}"], name)
    parameters = inspect.signature(kernel.fn).parameters
    constants = {key: value for key, value in (CONSTANTS | sizes).items() if key in parameters}
    types = {key: type_of(key) for key in parameters if key not in constants}
    if name in ("quantize_kernel", "integers_kernel", "gradient_kernel") and module == "norm_kernels":
        types["out"] = "*bf16"
    used = resources(kernel, capability, types, constants)
    assert used["STACK"] == used["LOCAL"] == 0  # nothing is spilled
    assert 0 < used["REG"] <= 128  # two programs of eight warps fit a multiprocessor
    assert used["SHARED"] <= 48 * 1024

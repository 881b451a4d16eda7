"""Triton without a GPU: its interpreter runs kernels on CPU tensors, its compiler makes code for GPUs not here."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch

from qtrain.data import crop_operator
from qtrain.models.fused import operators
from qtrain.training.captured import update
from qtrain.triton_kernels import trust

ROOMS = (operators.ROOM, crop_operator.ROOM, update.ROOM)
CAPABILITIES = (75, 80, 90)
MODULES = (
    "qtrain.models.fused.kernel_parts",
    "qtrain.models.fused.norm_kernels",
    "qtrain.models.fused.rounding_kernels",
    "qtrain.models.fused.magnitude_kernels",
    "qtrain.data.crop_kernels",
    "qtrain.training.captured.update_kernels",
)


@contextmanager
def kernel_modules(*, interpreted: bool) -> Iterator[dict[str, ModuleType]]:
    """Inside, Triton and the modules of kernels are fresh ones, whose kernels are interpreted or compiled.

    Triton decides so when it is imported, for its own functions too; what was imported before comes back afterwards.
    """
    with patch.dict(os.environ, {"TRITON_INTERPRET": "1" if interpreted else "0"}):
        kept = _taken_away()
        try:
            yield {name: importlib.import_module(name) for name in MODULES}
        finally:
            _taken_away()
            for name, module in kept.items():
                sys.modules[name] = module
                package, _, last = name.rpartition(".")
                if package in sys.modules:
                    setattr(sys.modules[package], last, module)


def _taken_away() -> dict[str, ModuleType]:
    """Forget Triton and the modules of kernels; its compiled part can be loaded only once."""
    names = [name for name in sys.modules if re.match(r"triton(\.(?!_C)|$)", name) or name in MODULES]
    for name in MODULES:
        package, _, last = name.rpartition(".")
        vars(sys.modules[package]).pop(last, None)
    return {name: sys.modules.pop(name) for name in names}


@contextmanager
def trusted_cpu() -> Iterator[None]:
    """Inside, everything computes with the kernels on the CPU, which must be interpreted."""
    device = torch.device("cpu")
    for room in ROOMS:
        trust(room, device)
    try:
        yield
    finally:
        for room in ROOMS:
            trust(room, device, kernels=False)


class Launches:
    """What interpreted kernels did.

    Attributes:
        kernels: launches by name.
        loaded: numbers that they read.
        stored: numbers that they wrote.
    """

    def __init__(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.loaded = self.stored = 0


@contextmanager
def launches() -> Iterator[Launches]:
    """Count launches, and what is read and written where the masks allow it."""
    from triton.runtime import interpreter

    found = Launches()
    call = interpreter.GridExecutor.__call__
    builder = interpreter.InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store

    def counted_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        found.kernels[self.fn.__name__] += 1
        return call(self, *args, **kwargs)

    def counted_load(self: Any, ptrs: Any, mask: Any, *rest: Any) -> Any:
        found.loaded += int(mask.data.sum())
        return load(self, ptrs, mask, *rest)

    def counted_store(self: Any, ptrs: Any, value: Any, mask: Any, *rest: Any) -> Any:
        found.stored += int(mask.data.sum())
        return store(self, ptrs, value, mask, *rest)

    with (
        patch.object(interpreter.GridExecutor, "__call__", counted_call),
        patch.object(builder, "create_masked_load", counted_load),
        patch.object(builder, "create_masked_store", counted_store),
    ):
        yield found


def resources(kernel: Any, capability: int, types: dict[str, Any], constants: dict[str, Any]) -> dict[str, int]:
    """Compile a kernel for a GPU of that compute capability; registers, stack, local and shared memory of its code.

    Pointers and numbers of channels are taken for multiples of 16, as a launch finds them to be.

    Args:
        kernel: as ``triton.jit`` made it.
        capability: 75, 80, 90.
        types: of the arguments that are no constants, as Triton calls them; tuples where tuples are given.
        constants: of the others.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(inspect.signature(kernel.fn).parameters)
    signature: dict[str, Any] = {name: "constexpr" if name in constants else types[name] for name in names}
    attributes = {}
    for number, name in enumerate(names):
        kind = signature[name]
        if isinstance(kind, tuple) and kind[0].startswith("*"):
            attributes |= {(number, place): [["tt.divisibility", 16]] for place in range(len(kind))}
        elif not isinstance(kind, tuple) and (kind.startswith("*") or name == "channels"):
            attributes[(number,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    options = inspect.getmodule(kernel.fn)._OPTIONS  # type: ignore[union-attr]
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    code = compiled.metadata_group[f"{compiled.metadata.name}.cubin"]
    told = subprocess.run([tool, "-res-usage", code], capture_output=True, text=True, check=True).stdout
    numbers = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", told))
    return {**{name: int(value) for name, value in numbers.items()}, "SHARED": compiled.metadata.shared}

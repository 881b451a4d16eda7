"""Whether training on this device is right: `make gpu-check`, stage 1 of `make gpu-evidence`.

Captured steps and validations are held against those taken kernel by kernel, to the bit; resumed runs against
uninterrupted ones; networks of one's own against what a graph cannot follow; a whole run for warnings, waiting, memory
and TF32; the fast and the compiled forward pass against Brevitas'; the fused kernels against their plain forms. One
line a check, one record a group of checks, exit status 1 where a check fails. On a CPU the tests' stand-in for
torch.cuda captures, so that the checks are themselves tested.

Usage: python -m benchmarks.gpu_check [--device cuda] [--networks CNV_1W1A,CNV_4W4A] [--width 1] [--no-compile]
       [--groups captured,forward] [--max-minutes 5] [--tiny]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import RESULTS
from benchmarks.gpu.check_captured import check_failed_captures, check_network, check_other_device, check_own_networks
from benchmarks.gpu.check_forward import check_forward
from benchmarks.gpu.check_kernels import check_kernels
from benchmarks.gpu.check_resume import check_resume
from benchmarks.gpu.check_tf32 import check_tf32
from benchmarks.gpu.check_training import check_training
from benchmarks.gpu.check_validation import check_validation
from benchmarks.gpu.place import Place, before_cuda_starts, make_place
from benchmarks.gpu.report import Report, Say

NETWORKS = "CNV_1W1A,CNV_2W2A,CNV_4W4A,CNV_8W8A,VGG11_4W4A,RESNET20_4W4A"
RESUMED = "VGG11_4W4A"  # whose scales are statistics
COMPILED = "CNV_4W4A"
SMALL = "TFC_2W2A"  # has dropout
GROUPS = ("training", "kernels", "captured", "validation", "resume", "own", "forward", "compiled")

Group = tuple[str, str, Callable[[Say], None]]  # its name, the network, the checks


def groups(place: Place, networks: list[str], compiles: bool) -> Iterator[Group]:
    """Yield the groups of checks in order of what they are worth; compiling takes longest and comes last."""
    first = networks[0]
    yield "training", first, lambda say: check_training(first, place, say)
    if place.is_gpu:  # without one the tests interpret them
        yield "kernels", COMPILED, lambda say: check_kernels(COMPILED, place, say)
    for network in networks:
        yield "captured", network, lambda say, n=network: check_network(n, place, say)  # type: ignore[misc]
        yield "captured", network, lambda say, n=network: check_network(n, place, say, precision="fast")  # type: ignore[misc]
    for network in dict.fromkeys((first, networks[-1])):  # 1-bit weights, and a deep network
        yield "validation", network, lambda say, n=network: check_validation(n, place, say)  # type: ignore[misc]
    yield "resume", RESUMED, lambda say: check_resume(RESUMED, place, say)
    yield "own", "own networks", lambda say: check_own_networks(place, say)
    yield "training", f"{first} TF32", lambda say: check_tf32(first, place, say)
    if place.other():
        yield "captured", SMALL, lambda say: _other(place, say)
    # What a failed capture may break is checked when all else that is captured has been
    yield "own", "failed captures", lambda say: check_failed_captures(place, say)
    for network in networks:
        yield "forward", network, lambda say, n=network: check_forward(n, place, say, compiled=False)  # type: ignore[misc]
    if not compiles:
        return
    for precision in ("exact", "fast") if place.is_gpu else ():  # the stand-in sees no kernels of the compiler's
        changes: dict[str, Any] = {"precision": precision, "compile": True}
        yield "compiled", COMPILED, lambda say, c=changes: check_network(COMPILED, place, say, **c)  # type: ignore[misc]
    for network in networks:
        yield "compiled", network, lambda say, n=network: check_forward(n, place, say, compiled=True)  # type: ignore[misc]


def _other(place: Place, say: Say) -> None:
    check_other_device(SMALL, place, say)


def main() -> None:
    """Check; end with status 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--tiny", action="store_true", help="width 0.125 and batches of 8: tries the checks themselves")
    parser.add_argument("--groups", default=",".join(GROUPS))
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--max-minutes", type=float, help="no group of checks begins after so long")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    chosen = options.groups.split(",")
    if unknown := [name for name in chosen if name not in GROUPS]:
        parser.error(f"unknown groups {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu tries the same checks on the CPU")
    warnings.filterwarnings("ignore", module=r"(brevitas|torch|onnx|qonnx)\b")
    before_cuda_starts()
    sizes = {"width": 0.125, "batch": 8} if options.tiny else {"width": options.width}
    place = make_place(options.device, **sizes)
    facts = {"device": place.name, "width": place.width, "batch_size": place.batch}
    report = Report(options.out, facts, options.max_minutes)
    for group, network, check in groups(place, options.networks.split(","), not options.no_compile):
        if group in chosen:
            report.group(group, network, check)
    failed = report.failed
    raise SystemExit(f"{len(failed)} checks failed: {'; '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()

"""Where the time of a training step goes: kernels, bytes and gaps of one replay, beside what the device can do.

On a GPU the step is a replay of its graph and the profiler sees kernels; on a CPU it is taken call by call and the
profiler sees torch's innermost calls. Bytes and operations are counted from the calls of one ordinary step; over what
the device was measured to copy and multiply they are the times below which this step, with each call by itself, cannot
go.

Usage: python -m benchmarks.profile_step [--device cuda] [--networks CNV_4W4A] [--precision exact,fast] [--compile no]
       [--batch-size 100] [--width 1] [--tiny]
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import RESULTS, append
from benchmarks.gpu.ceilings import ceilings, median_seconds
from benchmarks.gpu.data import images
from benchmarks.gpu.traffic import count
from qtrain.data import Batches
from qtrain.models import build_model
from qtrain.models.fast_forward import fast_forward
from qtrain.recipe import Recipe, default_recipe
from qtrain.training.captured.repeated import WARM_UP
from qtrain.training.losses import LOSSES
from qtrain.training.session import Session
from qtrain.training.setup import make_session
from qtrain.training.tf32 import tf32

STEPS = 10  # that are profiled
EPOCH = 40  # steps; more than are taken, so that no epoch begins among those that are looked at
MOST = 12  # kernels that are named
RATES = {"exact": "float32", "fast": "bfloat16"}  # arithmetic of most products, and so the ceiling to look at


@dataclass(frozen=True)
class Span:
    """A kernel's run, in microseconds."""

    name: str
    start: float
    end: float


def trained_step(recipe: Recipe, device: torch.device, *, captures: bool) -> tuple[Callable[[], object], Any]:
    """Return what takes one step after the other, data and all, and the session."""
    torch.manual_seed(0)
    model = build_model(recipe).to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    fast_forward(model, recipe.precision)
    split = images(EPOCH * recipe.batch_size).to(device)
    session = make_session(model, recipe, Batches(split, recipe.batch_size, seed=0, augment=True, flip=True))
    session.captures = captures
    stream = _endless(session, recipe)

    def step() -> object:
        with tf32(recipe.precision == "fast"):
            return next(stream)

    return step, session


def _endless(session: Session, recipe: Recipe) -> Iterator[Tensor]:
    """Epoch after epoch."""
    while True:
        for loss in session.steps(LOSSES[recipe.loss]):
            yield loss
            session.after_step()
        session.next_epoch()


def spans_of(step: Callable[[], object], device: torch.device) -> list[Span]:
    """Profile some steps; return what ran on the device, in order."""
    on_gpu = device.type == "cuda"
    activity, kind = (ProfilerActivity.CUDA, DeviceType.CUDA) if on_gpu else (ProfilerActivity.CPU, DeviceType.CPU)
    with profile(activities=[activity], acc_events=True) as found:
        for _ in range(STEPS):
            step()
        if on_gpu:
            torch.cuda.synchronize()
    events = [event for event in found.events() if event.device_type == kind and not event.cpu_children]
    events = [event for event in events if not getattr(event, "is_user_annotation", False)]
    spans = [Span(event.name, event.time_range.start, event.time_range.end) for event in events]
    return sorted((span for span in spans if span.end > span.start), key=lambda span: span.start)


def table_of(spans: list[Span]) -> dict[str, Any]:
    """Return kernels, busy time and gaps a step, and the kernels that take most."""
    busy, gaps = 0.0, 0.0
    end = spans[0].start if spans else 0.0
    totals: dict[str, list[float]] = defaultdict(list)
    for span in spans:
        gaps += max(0.0, span.start - end)
        busy += max(0.0, span.end - max(span.start, end))
        end = max(end, span.end)
        totals[span.name].append(span.end - span.start)
    most = sorted(totals, key=lambda name: -sum(totals[name]))[:MOST]
    return {
        "kernels": round(len(spans) / STEPS, 1),
        "busy_us": round(busy / STEPS, 1),
        "gaps_us": round(gaps / STEPS, 1),
        "copies": round(sum(len(found) for name, found in totals.items() if "Memcpy" in name) / STEPS, 1),
        "most": [
            {"name": name[:120], "calls": len(totals[name]) / STEPS, "us": round(sum(totals[name]) / STEPS, 1)}
            for name in most
        ],
    }


def profiled(recipe: Recipe, device: torch.device, measured: dict[str, float]) -> dict[str, Any]:
    """Return all numbers of one setting."""
    ordinary, _ = trained_step(recipe.replace(compile=False), device, captures=False)
    ordinary()  # the optimizer's own tensors are made in the first step
    traffic, operations = count(ordinary)
    step, session = trained_step(recipe, device, captures=True)
    for _ in range(WARM_UP + 3):
        step()
    seconds = median_seconds(step, device)
    rate = measured[f"{RATES[recipe.precision]}_tflop_per_s"]
    return {
        "captured": session.captured,
        "step_us": round(1e6 * seconds, 1),
        **table_of(spans_of(step, device)),
        "calls": traffic.calls,
        "megabytes": round(traffic.bytes / 1e6, 1),
        "gflop": round(operations / 1e9, 2),
        "bytes_us": round(traffic.bytes / measured["copy_gb_per_s"] / 1e3, 1),
        "products_us": round(operations / rate / 1e6, 1),
    }


def show(name: str, found: dict[str, Any]) -> None:
    """Print a setting's numbers and the kernels that take most."""
    print(
        f"{name}: {found['step_us']:,} us a step, {found['kernels']:g} kernels busy {found['busy_us']:,} us, gaps "
        f"{found['gaps_us']:,} us; {found['megabytes']:,} MB = {found['bytes_us']:,} us, {found['gflop']:g} GFLOP = "
        f"{found['products_us']:,} us",
        flush=True,
    )
    for kernel in found["most"]:
        print(f"  {kernel['us']:>10,} us {kernel['calls']:>6g} x {kernel['name'][:90]}", flush=True)


def main() -> None:
    """Measure the ceilings, then every setting; a record each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--networks", default="CNV_4W4A")
    parser.add_argument("--precision", default="exact")
    parser.add_argument("--compile", default="no", help="no, yes or both, comma-separated")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--tiny", action="store_true", help="sizes that try this on a CPU")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module=r"(brevitas|torch)\b")
    width, batch_size = (0.125, 8) if options.tiny else (options.width, options.batch_size)
    device = torch.empty(0, device=options.device).device
    where = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    measured = ceilings(device, options.tiny)
    append("ceilings", {"device": where, **measured}, options.out)
    print(", ".join(f"{name} {value:,}" for name, value in measured.items()), flush=True)
    for network in options.networks.split(","):
        for precision in options.precision.split(","):
            for compiled in (word == "yes" for word in options.compile.split(",")):
                recipe = default_recipe(network, "cifar10").replace(
                    precision=precision, compile=compiled, batch_size=batch_size, width=width
                )
                found = profiled(recipe, device, measured)
                setting = {"network": network, "width": width, "batch_size": batch_size, "precision": precision}
                append("profile", {**setting, "compile": compiled, "device": where, **found}, options.out)
                show(f"{network}, {precision}{', compiled' if compiled else ''}", found)


if __name__ == "__main__":
    main()

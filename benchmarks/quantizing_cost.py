"""What quantizers cost a training step on this CPU: Brevitas' own forward pass, this project's, and the float twin.

The arms take turns, a few steps each a round, in one process and on the same images; times are processor seconds.
Every arm is the same plain loop (cross entropy, SGD with momentum, freed memory kept, channels last), so that they
differ in their quantizers alone. Both quantized arms begin with the same weights; whether their losses are the same
bits is recorded for the first step, after which gradients differ in float32's rounding.

Usage: python -m benchmarks.quantizing_cost [--networks VGG11_4W4A:0.25,RESNET20_4W4A:0.5] [--rounds 7] [--steps 2]
       [--batch-size 100] [--threads 1]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.common import RESULTS, append, show, spread
from qtrain.models import build_model, parse_name
from qtrain.models.fast_forward import fast_forward
from qtrain.training.memory import keep_freed_memory

BREVITAS = "Brevitas' forward pass"
OURS = "qtrain"
FLOAT = "float twin"
ARMS = (BREVITAS, OURS, FLOAT)
NETWORKS = "VGG11_4W4A:0.25,RESNET20_4W4A:0.5,WRN20_4W4A:1,CNV_4W4A:0.25"
WARM_UP = 2

Step = Callable[[], float]


def step_of(arm: str, network: str, width: float, batch_size: int) -> Step:
    """Return what takes a training step of an arm and returns its loss.

    Args:
        arm: one of ``ARMS``.
        network: quantized, by name.
        width: that multiplies its channels.
        batch_size: images a step, drawn at random and the same in every step.
    """
    torch.manual_seed(0)
    name = f"{parse_name(network).family}_FLOAT" if arm == FLOAT else network
    model = build_model(name, width=width).train()
    if arm == OURS:
        fast_forward(model)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.rand(batch_size, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch_size) % 10

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def measure(network: str, width: float, *, batch_size: int, rounds: int, steps: int) -> dict[str, object]:
    """Return a record's numbers of one network: milliseconds a step, and ratios taken round by round.

    Args:
        network: quantized, by name.
        width: that multiplies its channels.
        batch_size: images a step.
        rounds: of all arms in turn.
        steps: of each arm a round.
    """
    arms = {arm: step_of(arm, network, width, batch_size) for arm in ARMS}
    first = {arm: step() for arm, step in arms.items()}
    for step in arms.values():
        for _ in range(WARM_UP):
            step()
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(rounds):
        for arm, step in arms.items():
            step()  # what the arm before left in the caches is not this one's
            start = time.process_time()
            for _ in range(steps):
                step()
            seconds[arm].append((time.process_time() - start) / steps)
    ratios = {
        arm: [theirs / mine for theirs, mine in zip(seconds[BREVITAS], seconds[arm], strict=True)] for arm in ARMS[1:]
    }
    shares = [theirs / mine for theirs, mine in zip(seconds[FLOAT], seconds[OURS], strict=True)]
    return {
        "network": network,
        "width": width,
        "batch_size": batch_size,
        "rounds": rounds,
        "steps_a_round": steps,
        "first_loss_equal": first[OURS] == first[BREVITAS],
        "ms_a_step": {arm: spread([1e3 * second for second in found], 1) for arm, found in seconds.items()},
        "times_brevitas": {arm: spread(found) for arm, found in ratios.items()},
        "share_of_the_float_twins_rate": spread(shares),
    }


def main() -> None:
    """Measure each network, print its ratios, append a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=NETWORKS, help="with their widths, NAME:WIDTH")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="steps of each arm a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    for word in options.networks.split(","):
        network, _, width = word.partition(":")
        sizes = {"batch_size": options.batch_size, "rounds": options.rounds, "steps": options.steps}
        found = measure(network, float(width or 1), **sizes)
        append("quantizing_cost", found, options.out)
        print(f"{word}: first loss {'equal' if found['first_loss_equal'] else 'DIFFERS'}", flush=True)
        for arm, ratio in found["times_brevitas"].items():  # type: ignore[attr-defined]
            print(show(f"{arm} / {BREVITAS}", ratio), flush=True)


if __name__ == "__main__":
    main()
